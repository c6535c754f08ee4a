package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestThePageAndTheUsageHaveTheSameOptions(t *testing.T) {
	page, err := os.ReadFile("gracewatch.8")
	if err != nil {
		t.Fatal(err)
	}
	var inUsage, inPage []string
	for _, m := range regexp.MustCompile(`(?m)^  (?:-(.), |    )--([a-z-]+)`).FindAllStringSubmatch(usage, -1) {
		inUsage = append(inUsage, strings.TrimPrefix(m[1]+" "+m[2], " "))
	}
	for _, m := range regexp.MustCompile(`(?m)^\.It Fl (?:(.) , )?-([a-z-]+)`).FindAllStringSubmatch(string(page), -1) {
		inPage = append(inPage, strings.TrimPrefix(m[1]+" "+m[2], " "))
	}
	inPage = append(inPage, "q quiet", "v verbose", "h help", "version") // svpid(8) has what all share
	slices.Sort(inUsage)
	slices.Sort(inPage)
	if !slices.Equal(inUsage, inPage) {
		t.Errorf("usage %q\npage  %q", inUsage, inPage)
	}
	for _, word := range []string{"soft", "hard", "legacy", "age", "control", "GRACE_TARGET", "GRACE_OVER_SECONDS"} {
		if !strings.Contains(usage, word) || !strings.Contains(string(page), word) {
			t.Errorf("%s is not in both", word)
		}
	}
	events := regexp.MustCompile("say\\(.*?, \"([a-z-]+)\"")
	for _, file := range []string{"control.go", "follow.go", "restart.go", "state.go", "ward.go", "watch.go", "events.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range events.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(page), "\n.Li "+m[1]) {
				t.Errorf("%s says %s, which the page doesn't have", file, m[1])
			}
		}
	}
}
