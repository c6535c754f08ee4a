package sidekiq

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The files are /proc/PID/cmdline of a real Sidekiq 6.4.1.
func TestTheTitleOfARealSidekiqIsRead(t *testing.T) {
	for name, want := range map[string]Title{
		"sidekiq-6-4-1-0-of-5-busy":          {Version: "6.4.1", Concurrency: 5},
		"sidekiq-6-4-1-0-of-5-busy-stopping": {Version: "6.4.1", Concurrency: 5, Stopping: true},
		"sidekiq-6-4-1-3-of-5-busy":          {Version: "6.4.1", Busy: 3, Concurrency: 5},
		"sidekiq-6-4-1-3-of-5-busy-stopping": {Version: "6.4.1", Busy: 3, Concurrency: 5, Stopping: true},
		"usr-bin-ruby-usr-bin-sidekiq-r":     {},
	} {
		text, err := os.ReadFile("testdata/cmdline-6.4.1-" + name)
		if err != nil {
			t.Fatal(err)
		}
		if title, err := ParseTitle(text); title != want || (err == ErrNoTitle) != (want == Title{}) {
			t.Errorf("%s: %+v, %v; want %+v", name, title, err, want)
		}
	}
}

func TestTitles(t *testing.T) {
	for text, want := range map[string]Title{
		// A tag may hold anything.
		"sidekiq 7.3.2  [1 of 10 busy]":                       {"7.3.2", "", 1, 10, false},
		"sidekiq 7.3.2 my app [1 of 10 busy]":                 {"7.3.2", "my app", 1, 10, false},
		"sidekiq 7.3.2 [9 of 9 busy] stopping [1 of 10 busy]": {"7.3.2", "[9 of 9 busy] stopping", 1, 10, false},
		// Enterprise, and programs themselves, add words.
		"sidekiq 7.3.2 app [1 of 10 busy] leader stopping":              {"7.3.2", "app", 1, 10, true},
		"sidekiq 7.3.2 app [0 of 10 busy] stopping leader":              {"7.3.2", "app", 0, 10, true},
		"sidekiq 7.3.2  [0 of 10 busy] unstoppable":                     {"7.3.2", "", 0, 10, false},
		"my sidekiq worker sidekiq 7.3.2 app [2 of 10 busy] x y":        {"7.3.2", "app", 2, 10, false},
		"sidekiq 7.3.2 a [9 of 9 busy] stopping b [2 of 10 busy] x [y]": {"7.3.2", "a [9 of 9 busy] stopping b", 2, 10, false},
		// Other programs, and arguments, which are no title.
		"": {}, "\x00": {}, "sidekiq": {}, "sidekiq ": {}, "sidekiq\x00-r\x00app.rb": {}, "sidekiq 6.4.1 app [0 of 5 busy]\x00100": {},
		"sidekiqmon 1 [0 of 5 busy]": {}, "sidekiq worker [0 of 5 busy]": {}, "puma 5.6.5 (tcp://0.0.0.0:9292) [app]": {},
	} {
		if title, err := ParseTitle([]byte(text + "\x00\x00")); title != want || (err == ErrNoTitle) != (want == Title{}) {
			t.Errorf("%q: %+v, %v; want %+v", text, title, err, want)
		}
	}
}

func TestATitleWithoutItsEndIsNeverIdle(t *testing.T) {
	full := "sidekiq 6.4.1 a-long-tag [0 of 10 busy] stopping"
	for end := len("sidekiq 6"); end < len(full); end++ {
		title, err := ParseTitle([]byte(full[:end] + "\x00"))
		if title.Stopping || (err == ErrCut) == strings.Contains(full[:end], " busy]") {
			t.Errorf("%q: %+v, %v", full[:end], title, err)
		}
	}
}

func FuzzTitle(f *testing.F) {
	for _, s := range []string{"sidekiq 6.4.1  [0 of 5 busy]\x00\x00", "sidekiq 8.1.7 app [3 of 10 busy] stopping", "sidekiq 7 [a] [1 of 2 busy]", "sidekiq ", "ruby\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, cmdline []byte) {
		title, err := ParseTitle(cmdline)
		if err != nil {
			if title != (Title{}) || err != ErrCut && err != ErrNoTitle {
				t.Errorf("%q: %+v, %v", cmdline, title, err)
			}
			return
		}
		text := fmt.Sprintf("sidekiq %s %s [%d of %d busy]", title.Version, title.Tag, title.Busy, title.Concurrency)
		if title.Stopping {
			text += " stopping"
		}
		if again, err := ParseTitle([]byte(text)); err != nil || again != title {
			t.Errorf("%q is %+v, and %q is %+v, %v", cmdline, title, text, again, err)
		}
	})
}
