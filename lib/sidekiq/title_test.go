package sidekiq

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The samples in testdata are /proc/PID/cmdline of a real Sidekiq 6.4.1.
func TestTheTitleOfARealSidekiqIsRead(t *testing.T) {
	files, err := filepath.Glob("testdata/cmdline-*")
	if err != nil || len(files) != 5 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		title, err := ParseTitle(text)
		if !strings.Contains(file, "busy") {
			if !errors.Is(err, ErrNoTitle) {
				t.Errorf("%s: %+v, %v", file, title, err)
			}
			continue
		}
		want := Title{Version: "6.4.1", Concurrency: 5, Stopping: strings.HasSuffix(file, "stopping")}
		if strings.Contains(file, "-3-of-5") {
			want.Busy = 3
		}
		if err != nil || title != want {
			t.Errorf("%s: %+v, %v; want %+v", file, title, err, want)
		}
	}
}

func TestTheTagMayHoldAnything(t *testing.T) {
	for tag, text := range map[string]string{
		"":                       "sidekiq 7.3.2  [1 of 10 busy]",
		"app":                    "sidekiq 7.3.2 app [1 of 10 busy]",
		"my app":                 "sidekiq 7.3.2 my app [1 of 10 busy]",
		"[9 of 9 busy]":          "sidekiq 7.3.2 [9 of 9 busy] [1 of 10 busy]",
		"[0 of 5 busy] stopping": "sidekiq 7.3.2 [0 of 5 busy] stopping [1 of 10 busy]",
	} {
		want := Title{Version: "7.3.2", Tag: tag, Busy: 1, Concurrency: 10}
		if title, err := ParseTitle([]byte(text + "\x00\x00")); err != nil || title != want {
			t.Errorf("%q: %+v, %v", text, title, err)
		}
	}
}

func TestATitleWithoutItsEndIsNeverIdle(t *testing.T) {
	full := "sidekiq 6.4.1 a-long-tag [0 of 10 busy] stopping"
	for end := len("sidekiq 6"); end < len(full); end++ {
		title, err := ParseTitle([]byte(full[:end] + "\x00"))
		if cut := full[:end]; strings.Contains(cut, " busy]") {
			if err != nil || title.Stopping {
				t.Errorf("%q: %+v, %v", cut, title, err)
			}
		} else if !errors.Is(err, ErrCut) {
			t.Errorf("%q: %+v, %v", cut, title, err)
		}
	}
}

func TestATitleMayHaveMoreWords(t *testing.T) {
	for text, want := range map[string]Title{
		"sidekiq 7.3.2 app [1 of 10 busy] leader":                       {"7.3.2", "app", 1, 10, false},
		"sidekiq 7.3.2 app [1 of 10 busy] leader stopping":              {"7.3.2", "app", 1, 10, true},
		"sidekiq 7.3.2 app [0 of 10 busy] stopping leader":              {"7.3.2", "app", 0, 10, true},
		"sidekiq 7.3.2  [0 of 10 busy] unstoppable":                     {"7.3.2", "", 0, 10, false},
		"sidekiq 7.3.2 app [0 of 10 busy] stop":                         {"7.3.2", "app", 0, 10, false}, // cut off
		"blue sidekiq 7.3.2 app [2 of 10 busy]":                         {"7.3.2", "app", 2, 10, false},
		"my sidekiq worker sidekiq 7.3.2 app [2 of 10 busy] x y":        {"7.3.2", "app", 2, 10, false},
		"sidekiq 7.3.2 a [9 of 9 busy] stopping b [2 of 10 busy] x [y]": {"7.3.2", "a [9 of 9 busy] stopping b", 2, 10, false},
	} {
		if title, err := ParseTitle([]byte(text + "\x00")); err != nil || title != want {
			t.Errorf("%q: %+v, %v; want %+v", text, title, err, want)
		}
	}
}

func TestOtherProgramsHaveNoTitleOfSidekiq(t *testing.T) {
	for _, text := range []string{"", "\x00", "sidekiq", "sidekiq\x00-r\x00app.rb\x00", "sidekiqmon 1 [0 of 5 busy]", "sidekiq", "sidekiq ", "sidekiq worker [0 of 5 busy]", "puma 5.6.5 (tcp://0.0.0.0:9292) [app]",
		"sidekiq 6.4.1 app [0 of 5 busy]\x00100\x00"} {
		if title, err := ParseTitle([]byte(text)); !errors.Is(err, ErrNoTitle) {
			t.Errorf("%q: %+v, %v", text, title, err)
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
		text := "sidekiq " + title.Version + " " + title.Tag + " [" + strconv.Itoa(title.Busy) + " of " + strconv.Itoa(title.Concurrency) + " busy]"
		if title.Stopping {
			text += " stopping"
		}
		if again, err := ParseTitle([]byte(text)); err != nil || again != title {
			t.Errorf("%q is %+v, and %q is %+v, %v", cmdline, title, text, again, err)
		}
	})
}
