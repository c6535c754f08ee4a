package main

import (
	"fmt"
	"slices"
	"time"

	"gracekit/lib/proc"
	"gracekit/lib/watch"
)

// State is one word for what a worker is doing.
type State string

const (
	OK         State = "ok"
	Over       State = "over"       // over the soft limit, the grace timer runs
	Quiet      State = "quiet"      // it takes no jobs
	Restarting State = "restarting" // being restarted, or a restart failed and is tried again
	Postponed  State = "postponed"  // over a limit, and something keeps the restart from happening now
	Paused     State = "paused"     // an operator paused the watcher
	TooLow     State = "too-low"    // the limit is below what it needs at boot
	Down       State = "down"       // no process
	Unwatched  State = "unwatched"  // no gracewatch
)

// Worker is one process of a service.
type Worker struct {
	ID          proc.ID
	Age         time.Duration
	KB, PeakKB  int64 // in the measure of its watcher: now, and at its largest
	SoftKB      int64 // 0: none
	HardKB      int64
	State       State
	Detail      string // in words, for the table; "": State is enough
	Over        time.Duration
	Busy, Slots int  // running jobs of a Sidekiq, and how many it can run
	HasJobs     bool // it is a Sidekiq whose title has the number of its jobs
	alarm       bool
	quiet       bool                    // a Sidekiq that takes no jobs
	seen        *watch.InstanceSnapshot // by its watcher; nil: not yet
}

// Service is one target.
type Service struct {
	Name     string
	Path     string // the service directory, or the target as it was given
	State    State  // of the worst of its workers
	Workers  []Worker
	Snapshot *watch.Snapshot // nil: nothing watches it, or it cannot be read
	Watcher  proc.ID         // zero: none
	history  string          // the path of its history; "": in supervise
	state    string          // the path of the state file that Snapshot is from; "": none
	written  time.Time       // when that file was written
	Missing  string          // what could not be read, and what is needed for it
	Err      error           // nothing is known of it
	target   target
	noAlarm  bool // it is not watched, and is not expected to be
	now      time.Duration
	read     time.Duration // when all of it was read
}

// attention reports whether it needs that of an operator.
func (s *Service) attention() bool {
	if s.noAlarm {
		return false
	}
	return s.State == Unwatched || s.State == Paused || s.State == Down ||
		slices.ContainsFunc(s.Workers, func(w Worker) bool { return w.alarm })
}

// lastRestart is the last one that is known, or nil.
func (s *Service) lastRestart() *watch.Restart {
	if s.Snapshot == nil {
		return nil
	}
	for i := len(s.Snapshot.Restarts) - 1; i >= 0; i-- {
		if r := &s.Snapshot.Restarts[i]; r.Outcome == "done" {
			return r
		}
	}
	return nil
}

// describe sets the state of a worker, and its words for the table.
func (w *Worker) describe(s *Service) {
	w.State, w.Detail, w.Over, w.alarm = OK, "", 0, false
	if s.Watcher == (proc.ID{}) {
		w.State, w.Detail = Unwatched, "NOT WATCHED"
		return
	}
	if s.Snapshot.Paused {
		w.State, w.alarm = Paused, true
		return
	}
	if w.seen == nil {
		if s.Missing != "" {
			w.Detail = "watched, limits not known"
		}
		return
	}
	if w.seen.State.Over {
		w.Over = s.now - w.seen.State.Since
	}
	switch w.seen.Phase {
	case watch.PhaseRestarting:
		w.State, w.Detail = Restarting, w.restarting(s)
	case watch.PhaseFailed:
		w.State, w.Detail, w.alarm = Restarting, "restart failed: "+w.seen.Why, true
	case watch.PhasePostponed:
		w.State, w.Detail, w.alarm = Postponed, "postponed: "+w.seen.Why, true
	case watch.PhaseTooLow:
		w.State, w.Detail, w.alarm = TooLow, "limit too low", true
	case watch.PhaseOver:
		w.State = Over
		w.Detail = fmt.Sprintf("over soft %s of %s", short(w.Over), short(s.Snapshot.Grace))
		if w.seen.State.OverHard {
			w.Detail = "over hard"
		}
	default:
		if w.quiet {
			w.State = Quiet
		}
	}
}

func (w *Worker) restarting(s *Service) string {
	since := ""
	if w.seen.RestartBegan > 0 {
		since = " " + short(s.now-w.seen.RestartBegan)
	}
	switch {
	case w.quiet && w.HasJobs && w.Busy == 1:
		return "restarting" + since + " (waiting for 1 job)"
	case w.quiet && w.HasJobs && w.Busy > 1:
		return fmt.Sprintf("restarting%s (waiting for %d jobs)", since, w.Busy)
	}
	return "restarting" + since
}

// severity orders states, the worst last.
var severity = []State{OK, Quiet, Over, Restarting, Postponed, Paused, TooLow, Down, Unwatched}

// worst is the state of a service of several workers.
func worst(workers []Worker) State {
	if len(workers) == 0 {
		return Down
	}
	at := 0
	for _, w := range workers {
		at = max(at, slices.Index(severity, w.State))
	}
	return severity[at]
}
