package watch

import (
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
)

// Outcome is how the restart of a process ended.
type Outcome string

const (
	Done      Outcome = "done"      // the process has ended, or, in place, is under its limit
	Postponed Outcome = "postponed" // not now
	Failed    Outcome = "failed"    // it may have been begun: the process may be quiet
	Unknown   Outcome = ""          // an earlier gracewatch started prog, and the process has not ended
)

// notNow is the exit code of a prog that could not restart the process now
// (EX_TEMPFAIL).
const notNow = 75

// outcomeOf is the outcome of a prog that ended so. A process that has ended is
// done, whatever prog exits with.
func outcomeOf(e exit, gone, shrunk bool) Outcome {
	switch {
	case gone, shrunk:
		return Done
	case !e.known:
		return Unknown
	case e.code == notNow:
		return Postponed
	}
	return Failed
}

// progRun is a prog that runs, with a limit to its time.
type progRun struct {
	running
	deadline time.Duration // when it gets TERM, and later KILL; Never: no limit
	termSent bool
}

func newProgRun(r running, cfg *Config, at time.Duration) *progRun {
	run := &progRun{running: r, deadline: grace.Never}
	if cfg.ProgTimeout > 0 {
		run.deadline = grace.Later(at, cfg.ProgTimeout)
	}
	return run
}

// step reports its end, or, when it has had its time, sends TERM to its group, and
// KILL a little later. One that exits 75 after that has failed.
func (r *progRun) step(at time.Duration, cfg *Config) (e exit, ended bool) {
	if r.Ended() {
		e = r.Reap()
		if r.termSent && e.code == notNow {
			e.code = 1
		}
		return e, true
	}
	if at < r.deadline {
		return exit{}, false
	}
	sig, name := unix.SIGTERM, "TERM"
	if r.termSent {
		sig, name = unix.SIGKILL, "KILL"
	}
	r.termSent, r.deadline = true, grace.Later(at, settleTime)
	cfg.Messages.Error("the program has not ended within --prog-timeout %v: sending %s to its group", cfg.ProgTimeout, name)
	if err := r.SignalGroup(sig); err != nil {
		cfg.Messages.Error("cannot signal the group of the program %v: %v", r.ID(), err)
	}
	return exit{}, false
}
