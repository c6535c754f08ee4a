// Package grace decides when a process that has grown too large must go. It
// knows no clock and reads no file: time and size are given to it.
package grace

import "time"

// Limits are what a process may be.
type Limits struct {
	Soft, Hard int64         // KB; 0: none
	Grace      time.Duration // how long it may stay over the soft limit
	Retry      time.Duration // wait after a restart that was put off or failed
	Legacy     bool          // once over the soft limit there is no way back
	Old        time.Duration // when the process is too old, on the clock of Sample; 0: never
}

// Sample is a size at a time.
type Sample struct {
	At   time.Duration // on a clock that never goes back
	KB   int64
	Hold bool // no restart may begin now: another one is under way
}

// Reason is why a process is restarted; empty: it is not.
type Reason string

const (
	Soft    Reason = "soft"    // longer over the soft limit than the grace time
	Hard    Reason = "hard"    // over the hard limit
	Legacy  Reason = "legacy"  // once over the soft limit, and the grace time is over
	Age     Reason = "age"     // too old
	Control Reason = "control" // somebody wants it
)

// Change is what a sample changed.
type Change struct {
	OverSoft  bool // the grace timer starts
	UnderSoft bool // the grace timer is off again
	OverHard  bool
	GraceOver bool
	Restart   Reason // the restart has to begin
}

// State is where one process stands. The zero State is a process that has just
// been met. It can be kept as text.
type State struct {
	Over       bool          // over the soft limit; with Legacy, since it ever was
	Since      time.Duration // when the soft limit was passed, if Over
	OverHard   bool
	HardSince  time.Duration // when the hard limit was passed, if OverHard
	GraceOver  bool          // told, for this time over the soft limit
	Restarting bool          // between a Change with Restart and its end
	Reason     Reason        // of the restart that is under way, or was the last
	Committed  bool          // a restart was ordered, or failed half way: it is begun whatever the size
	NotBefore  time.Duration // no restart earlier than that
}

// Step takes a sample. While a restart is under way nothing changes.
func (s State) Step(l Limits, x Sample) (State, Change) {
	var c Change
	if s.Restarting {
		return s, c
	}
	over := l.Soft > 0 && x.KB > l.Soft
	switch {
	case over && !s.Over:
		s.Over, s.Since, c.OverSoft = true, x.At, true
	case !over && s.Over && !l.Legacy:
		s.Over, s.GraceOver, c.UnderSoft = false, false, true
	}
	overHard := l.Hard > 0 && x.KB > l.Hard
	if c.OverHard = overHard && !s.OverHard; c.OverHard {
		s.HardSince, s.NotBefore = x.At, 0 // at once, whatever was put off for the soft limit
	}
	s.OverHard = overHard
	graceOver := s.Over && x.At-s.Since >= l.Grace
	c.GraceOver = graceOver && !s.GraceOver
	s.GraceOver = graceOver
	if x.At < s.NotBefore || x.Hold {
		return s, c
	}
	switch {
	case overHard:
		c.Restart = Hard
	case graceOver && l.Legacy:
		c.Restart = Legacy
	case graceOver:
		c.Restart = Soft
	case s.Committed:
		c.Restart = s.Reason
	case l.Old > 0 && x.At >= l.Old:
		c.Restart = Age
	default:
		return s, c
	}
	s.Restarting, s.Reason = true, c.Restart
	return s, c
}

// Ordered is a restart that somebody wants: it is begun with the next sample,
// whatever the size.
func (s State) Ordered() State {
	if !s.Restarting {
		s.Committed, s.Reason, s.NotBefore = true, Control, 0
	}
	return s
}

// Again is a restart that was begun by somebody who is gone, and came to no
// end: it is begun again with the next sample.
func (s State) Again() State {
	s.Restarting, s.Committed, s.NotBefore = false, true, 0
	return s
}

// Delayed is a restart that comes later than it was due.
func (s State) Delayed(until time.Duration) State {
	s.Restarting, s.NotBefore = false, until
	return s
}

// PutOff ends a restart that may not be now: it is tried again after the retry
// time, if the process is still over the limit.
func (s State) PutOff(l Limits, at time.Duration) State { return s.Delayed(later(at, l.Retry)) }

// Failed ends a restart that was begun and did not come to its end: the process
// may be quiet, and so it is begun again after the retry time, whatever the size.
func (s State) Failed(l Limits, at time.Duration) State {
	s = s.PutOff(l, at)
	s.Committed = true
	return s
}

// Next is when the state may change by time alone, if it can: a sample is due
// then. It may lie in the past.
func (s State) Next(l Limits) (at time.Duration, ok bool) {
	at = forever
	if s.Over && l.Grace < forever {
		at = later(s.Since, l.Grace)
	}
	if l.Old > 0 {
		at = min(at, l.Old)
	}
	if s.Committed || s.OverHard || s.GraceOver {
		at = 0
	}
	at = max(at, s.NotBefore)
	return at, !s.Restarting && at < forever
}

// forever is a time that never comes.
const forever = 1<<63 - 1

func later(at, d time.Duration) time.Duration {
	if d > forever-at {
		return forever
	}
	return at + d
}
