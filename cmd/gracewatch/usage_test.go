package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gracekit/lib/watch"
)

func TestThePageAndTheUsageHaveTheSameOptions(t *testing.T) {
	text, err := os.ReadFile("gracewatch.8")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	var inUsage, inPage []string
	for _, m := range regexp.MustCompile(`(?m)^  (?:-(.), |    )--([a-z-]+)`).FindAllStringSubmatch(usage, -1) {
		inUsage = append(inUsage, strings.TrimPrefix(m[1]+" "+m[2], " "))
	}
	for _, m := range regexp.MustCompile(`(?m)^\.It Fl (?:(.) , )?-([a-z-]+)`).FindAllStringSubmatch(page, -1) {
		inPage = append(inPage, strings.TrimPrefix(m[1]+" "+m[2], " "))
	}
	inPage = append(inPage, "q quiet", "v verbose", "h help", "version") // svpid(8) has what all share
	slices.Sort(inUsage)
	slices.Sort(inPage)
	if !slices.Equal(inUsage, inPage) {
		t.Errorf("usage %q\npage  %q", inUsage, inPage)
	}
	for _, word := range []string{"soft", "hard", "legacy", "age", "control", "GRACE_TARGET", "GRACE_HARD_KB", "GRACE_OVER_SECONDS"} {
		if !strings.Contains(usage, word) || !strings.Contains(page, word) {
			t.Errorf("%s is not in both", word)
		}
	}
	for _, event := range watch.Events {
		if !strings.Contains(page, "\n.Li "+event.Name+" ") {
			t.Errorf("the page does not have the event %s", event.Name)
		}
	}
}
