package main

import (
	"testing"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/watch"
)

// The state of a worker in a word, in words, and whether it needs attention.
func TestStates(t *testing.T) {
	const now = time.Hour
	ago := func(d time.Duration) grace.State { return grace.State{Over: true, Since: now - d} }
	hard := ago(time.Second)
	hard.OverHard = true
	for _, c := range []struct {
		name      string
		worker    Worker
		seen      *watch.InstanceSnapshot
		state     State
		prose     string
		attention bool
	}{
		{"under its limits", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhaseOK}, OK, "ok", false},
		{"quiet", Worker{quiet: true}, &watch.InstanceSnapshot{Phase: watch.PhaseOK}, Quiet, "quiet", false},
		{"over soft", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhaseOver, State: ago(252 * time.Second)}, Over, "over soft 4m12s of 15m", false},
		{"over hard", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhaseOver, State: hard}, Over, "over hard", false},
		{"restarting", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhaseRestarting, RestartBegan: now - 12*time.Second}, Restarting, "restarting 12s", false},
		{"restarting, with jobs", Worker{quiet: true, HasJobs: true, Busy: 2}, &watch.InstanceSnapshot{Phase: watch.PhaseRestarting, RestartBegan: now - time.Minute},
			Restarting, "restarting 1m (waiting for 2 jobs)", false},
		{"restart failed", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhaseFailed, Why: "exit 111"}, Restarting, "restart failed: exit 111", true},
		{"postponed", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhasePostponed, Why: "0 of 1 peers"}, Postponed, "postponed: 0 of 1 peers", true},
		{"too low", Worker{}, &watch.InstanceSnapshot{Phase: watch.PhaseTooLow}, TooLow, "limit too low", true},
		{"not yet seen by its watcher", Worker{}, nil, OK, "ok", false},
	} {
		s := Service{State: OK, Watcher: proc.ID{PID: 2}, Snapshot: &watch.Snapshot{Grace: 15 * time.Minute}, now: now}
		w := c.worker
		w.seen = c.seen
		w.describe(&s)
		s.Workers = []Worker{w}
		if w.State != c.state || w.prose() != c.prose || s.attention() != c.attention {
			t.Errorf("%s: %s, %q, attention %v; want %s, %q, %v", c.name, w.State, w.prose(), s.attention(), c.state, c.prose, c.attention)
		}
		s.Snapshot.Paused = true
		if w.describe(&s); w.State != Paused || w.prose() != "paused" {
			t.Errorf("%s, paused: %s, %q", c.name, w.State, w.prose())
		}
		s.Watcher = proc.ID{}
		if w.describe(&s); w.State != Unwatched || w.prose() != "NOT WATCHED" {
			t.Errorf("%s, without a watcher: %s, %q", c.name, w.State, w.prose())
		}
	}
}

func TestAServiceIsInTheWorstStateOfItsWorkers(t *testing.T) {
	for i, state := range severity {
		if got := worst([]Worker{{State: severity[0]}, {State: state}, {State: severity[i/2]}}); got != state {
			t.Errorf("%s, %s and %s: %s", severity[0], state, severity[i/2], got)
		}
	}
	if got := worst(nil); got != Down {
		t.Errorf("no worker: %s", got)
	}
}
