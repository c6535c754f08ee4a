package sidekiq

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"gracekit/lib/proc"
)

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
