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
}

// Sample is a size at a time.
type Sample struct {
	At time.Duration // on a clock that never goes back
	KB int64
}

// Reason is why a process is restarted; empty: it is not.
type Reason string

const (
	Soft   Reason = "soft"   // longer over the soft limit than the grace time
	Hard   Reason = "hard"   // over the hard limit
	Legacy Reason = "legacy" // once over the soft limit, and the grace time is over
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
// been met.
type State struct {
	Over       bool          // over the soft limit; with Legacy, since it ever was
	Since      time.Duration // when the soft limit was passed, if Over
	OverHard   bool
	GraceOver  bool          // told, for this time over the soft limit
	Restarting bool          // between a Change with Restart and Done
	Reason     Reason        // of the restart that is under way, or was the last
	Committed  bool          // a restart failed half way: it is begun again whatever the size
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
	c.OverHard = overHard && !s.OverHard
	s.OverHard = overHard
	graceOver := s.Over && x.At-s.Since >= l.Grace
	c.GraceOver = graceOver && !s.GraceOver
	s.GraceOver = graceOver
	if x.At < s.NotBefore {
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
	default:
		return s, c
	}
	s.Restarting, s.Reason = true, c.Restart
	return s, c
}

// PutOff ends a restart that may not be now: it is tried again after the retry
// time, if the process is still over the limit.
func (s State) PutOff(l Limits, at time.Duration) State {
	s.Restarting, s.NotBefore = false, later(at, l.Retry)
	return s
}

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
	switch {
	case s.Restarting:
		return 0, false
	case s.Committed, s.OverHard, s.GraceOver:
		return s.NotBefore, true
	case s.Over && l.Grace < forever:
		return max(later(s.Since, l.Grace), s.NotBefore), true
	}
	return 0, false
}

// forever is a time that never comes.
const forever = 1<<63 - 1

func later(at, d time.Duration) time.Duration {
	if d > forever-at {
		return forever
	}
	return at + d
}
