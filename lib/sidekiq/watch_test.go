package sidekiq

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
)

// What the title and the threads show together, at the last of some looks at the threads: their names, beside the main
// one, by their ids; "-" has ended.
func TestTitleAndThreads(t *testing.T) {
	for _, c := range []struct{ name, title, looks, want string }{
		{"jobs", "[3 of 10 busy]", "heartbeat scheduler processor", "3 of 10 by title"},
		{"no jobs, but it takes some", "[0 of 10 busy]", "heartbeat scheduler processor", "0 of 10 by title"},
		{"quiet, with a job", "[1 of 10 busy] stopping", "heartbeat processor", "1 of 10 stopping by title"},
		{"quiet, without", "[0 of 10 busy] stopping", "heartbeat processor", "0 of 10 stopping idle by title"},

		// The title is old.
		{"no thread is left", "[2 of 3 busy]", "heartbeat > heartbeat", "0 of 3 stopping idle by threads"},
		{"once is not enough", "[2 of 3 busy]", "heartbeat", "2 of 3 by title"},
		{"twice with one between", "[2 of 3 busy]", "heartbeat > heartbeat processor > heartbeat", "2 of 3 by title"},
		{"a processor is left", "[2 of 3 busy]", "heartbeat processor > heartbeat processor", "2 of 3 by title"},
		{"the scheduler is left", "[1 of 3 busy]", "heartbeat scheduler > heartbeat scheduler", "1 of 3 by title"},
		{"the only one of -c 1", "[0 of 1 busy]", "heartbeat sidekiq.default > heartbeat sidekiq.default", "0 of 1 by title"},
		{"a capsule called as the heartbeat", "[2 of 2 busy]", "sidekiq.heartbe sidekiq.heartbe > sidekiq.heartbe sidekiq.heartbe", "2 of 2 by title"},

		// A job gives its thread another name, or a gem has one.
		{"renamed", "[1 of 5 busy]", "heartbeat processor > heartbeat ffmpeg > heartbeat ffmpeg", "1 of 5 by title"},
		{"renamed, and ended", "[1 of 5 busy]", "heartbeat processor > heartbeat - > heartbeat -", "0 of 5 stopping idle by threads"},
		{"renamed before", "[0 of 1 busy]", "heartbeat ffmpeg > heartbeat ffmpeg", "0 of 1 by title"},
		{"renamed before, and stopping", "[0 of 1 busy] stopping", "heartbeat ffmpeg", "0 of 1 stopping idle by title"},
		{"a gem's", "[1 of 3 busy] leader", "heartbeat sidekiq.senate > heartbeat sidekiq.senate", "1 of 3 by title"},
		{"a gem's, and stopping", "[0 of 3 busy] stopping leader", "heartbeat sidekiq.senate", "0 of 3 stopping idle by title"},

		// A title that is cut off, or none, as where Sidekiq is embedded.
		{"cut off", "[0 of", "heartbeat scheduler processor", ErrCut.Error()},
		{"cut off, no thread is left", "[0 of", "heartbeat > heartbeat", "0 of 0 stopping idle by threads"},
		{"embedded", "", "heartbeat scheduler processor", ErrNoTitle.Error()},
		{"embedded, quiet", "", "heartbeat - processor processor", "2 of 0 stopping by threads"},
		{"embedded, idle", "", "heartbeat ffmpeg > heartbeat ffmpeg", "0 of 0 stopping idle by threads"},
	} {
		cmdline := "puma"
		if c.title != "" {
			cmdline = "sidekiq 7.3.2 app " + c.title
		}
		w, got := &Watch{}, ""
		for look := range strings.SplitSeq(c.looks, " > ") {
			list := []proc.Thread{{TID: 1, Name: "ruby"}}
			for i, name := range strings.Fields(look) {
				if name != "-" {
					list = append(list, proc.Thread{TID: i + 2, Name: name})
				}
			}
			s, err := w.conclude([]byte(cmdline), recognise(1, list), list)
			if got = describe(s); err != nil {
				got = err.Error()
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func describe(s Status) string {
	text := fmt.Sprintf("%d of %d", s.Busy, s.Concurrency)
	if s.Stopping {
		text += " stopping"
	}
	if s.Idle {
		text += " idle"
	}
	return text + " by " + s.Evidence
}

// A process that exits loses its threads one by one: what has no heartbeat any
// more is not another program. (Another name stands for the end of the thread,
// whose native one Ruby may keep.)
func TestTheWaitForAnExitingSidekiqEndsWithIt(t *testing.T) {
	target := startRuby(t, `
		heartbeat = Thread.new { sleep }
		heartbeat.name = "heartbeat"
		Thread.new { sleep }.name = "processor"
		Thread.new { sleep 0.5; heartbeat.name = "ended"; sleep 0.3; exit! }`, func(string) {})
	if s, err := NewWatch(target).Wait(time.Now().Add(time.Minute)); !errors.Is(err, proc.ErrGone) {
		t.Errorf("%+v, %v, not %v", s, err, proc.ErrGone)
	}
}

// The threads of a process that was killed, or exits, end one by one: that those of the jobs have ended shows nothing.
func TestASidekiqThatExitsIsNotIdle(t *testing.T) {
	number := map[string]int{"amd64": 60, "arm64": 93}[runtime.GOARCH] // exit(2), of one thread
	if number == 0 {
		t.Skip("the number of exit(2) is not known here")
	}
	target := startRuby(t, fmt.Sprintf(`
		Thread.new { sleep }.name = "heartbeat"
		puts :ready
		$stdout.flush
		syscall %d, 0`, number), func(string) {})
	w := NewWatch(target)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if s, err := w.Now(); errors.Is(err, proc.ErrGone) {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("%+v, %v, not %v", s, err, proc.ErrGone)
		}
	}
}

func TestTheWaitForAnotherProgramEnds(t *testing.T) {
	target := startRuby(t, "", func(string) {})
	w := NewWatch(target)
	w.heartbeat = time.Now().Add(-exitTime)
	if s, err := w.Wait(time.Time{}); err != ErrNotSidekiq {
		t.Errorf("%+v, %v, not %v", s, err, ErrNotSidekiq)
	}
}
