package sidekiq

import (
	"errors"
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

func TestTheWaitForAnotherProgramEnds(t *testing.T) {
	target := startRuby(t, "", func(string) {})
	w := NewWatch(target)
	w.heartbeat = time.Now().Add(-exitTime)
	if s, err := w.Wait(time.Time{}); err != ErrNotSidekiq {
		t.Errorf("%+v, %v, not %v", s, err, ErrNotSidekiq)
	}
}
