package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gracekit/lib/watch"
)

// options are the options that a regular expression finds: a letter, which may be missing, and a word.
func options(text, pattern string) (found []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, strings.TrimSpace(m[1]+" "+m[2]))
	}
	slices.Sort(found)
	return found
}

func TestThePageAndTheUsageHaveTheSameOptions(t *testing.T) {
	text, err := os.ReadFile("gracewatch.8")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text) + ".It Fl q , -quiet\n.It Fl v , -verbose\n.It Fl h , -help\n.It Fl -version\n" // svpid(8) has what all share
	inUsage, inPage := options(usage, `(?m)^  (?:-(.), |    )--([a-z-]+)`), options(page, `(?m)^\.It Fl (?:(.) , )?-([a-z-]+)`)
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
