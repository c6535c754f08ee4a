// Package grace decides when a process that has grown too large must go. It is
// pure: it has no clock and reads no file; time and size are given to it.
package grace

import (
	"math"
	"time"
)

// Limits are what a process may be.
type Limits struct {
	Soft, Hard int64         // KB; 0: none
	Grace      time.Duration // how long it may stay over the soft limit
	Retry      time.Duration // wait after a restart that was postponed or failed
	Legacy     bool          // once over the soft limit, the restart can no longer be cancelled
	MaxAgeAt   time.Duration // when the process is too old, on the clock of Sample; 0: never
	Recheck    time.Duration // how soon the size is checked again at a hard limit that is too low
}

// ForReason is the limit that a restart for this reason is about, in KB; 0: none.
func (l Limits) ForReason(reason Reason) int64 {
	switch reason {
	case Soft, Legacy:
		return l.Soft
	case Hard:
		return l.Hard
	}
	return 0
}

// Sample is a size at a time.
type Sample struct {
	At         time.Duration // on a clock that never goes back
	KB         int64
	Reversible bool // with Legacy: at or under the limit, it cancels a timer that such samples alone started
	HardOnly   bool // it counts for the hard limit alone
	Blocked    bool // no restart may begin now: another one is under way
	Title      Title
	Booting    bool  // it is a Sidekiq that has no title yet: its footprint will be known soon
	MemoryKB   int64 // the memory available to it; 0: not known
}

// Reason is why a process is restarted; empty: it is not.
type Reason string

const (
	Soft    Reason = "soft"    // over the soft limit for longer than the grace time
	Hard    Reason = "hard"    // over the hard limit
	Legacy  Reason = "legacy"  // once over the soft limit, and the grace time has expired
	Age     Reason = "age"     // too old
	Control Reason = "control" // requested on the control FIFO
)

// Change is what a sample changed.
type Change struct {
	OverSoft  bool   // the grace timer starts
	UnderSoft bool   // the grace timer is cancelled
	OverHard  bool   // the hard limit is passed
	GraceOver bool   // the grace time has expired
	Restart   Reason // a restart has to begin
}

// Instance is one process, as far as decisions depend on it.
type Instance struct {
	Started   time.Duration
	State     State
	Footprint Footprint
}

// Decision is what a sample of an instance leads to.
type Decision struct {
	Change          // Restart: it is due
	Begin      bool // it begins now
	SoftTooLow Verdict
	HardTooLow Verdict
}

// Check adds a sample of an instance and decides. A restart that cannot help is
// delayed, unless the process may be quiet already.
func (n Instance) Check(l Limits, b Backoff, x Sample) (Instance, Backoff, Decision) {
	var d Decision
	wasKnown := n.Footprint.KB() > 0
	n.Footprint = n.Footprint.addSample(x)
	n.State, d.Change = n.State.Step(l, x)
	if !n.State.Over && !n.State.OverHard {
		b = b.endStreaks(n.Footprint, n.Started, x.At)
	}
	if !wasKnown && n.Footprint.KB() > l.Soft && l.Soft > 0 { // this is logged now, not only when the restart is due
		d.SoftTooLow = b.decide(n.due(Soft, l, x.KB), x)
	}
	if d.Begin = d.Restart != ""; !d.Begin || n.State.Committed {
		return n, b, d
	}
	v := b.decide(n.due(d.Restart, l, x.KB), x)
	until := v.NotBefore
	if d.Restart == Hard {
		d.HardTooLow = v
		until = min(until, Later(x.At, l.Recheck))
	} else if v.TooLow {
		d.SoftTooLow = v
	}
	if x.At < v.NotBefore {
		n.State, d.Begin = n.State.DelayedUntil(until), false
	}
	return n, b, d
}

// Restarted is the back-off after a restart of the instance, which had that size.
func (n Instance) Restarted(l Limits, b Backoff, kb int64, at time.Duration) Backoff {
	return b.restarted(n.due(n.State.Reason, l, kb), at)
}

// State is where one process stands. The zero State is a process that was seen
// for the first time.
type State struct {
	Over         bool          `json:"over,omitempty"`         // over the soft limit; with Legacy, since it ever was
	Since        time.Duration `json:"since,omitempty"`        // when the soft limit was passed, if Over
	Irreversible bool          `json:"irreversible,omitempty"` // with Legacy: a sample that is not reversible has seen it over
	OverHard     bool          `json:"over_hard,omitempty"`    //
	HardSince    time.Duration `json:"hard_since,omitempty"`   // when the hard limit was passed, if OverHard
	GraceOver    bool          `json:"grace_over,omitempty"`   // the grace time has expired, for this time over the soft limit
	Restarting   bool          `json:"restarting,omitempty"`   // between a Change with Restart and its end
	Reason       Reason        `json:"reason,omitempty"`       // of the restart that is under way, or was the last
	Committed    bool          `json:"committed,omitempty"`    // a restart was requested, or failed half way: it begins at any size
	NotBefore    time.Duration `json:"not_before,omitempty"`   // no restart earlier than that
}

// Step adds a sample. While a restart is under way, only passing the hard limit
// is a change.
func (s State) Step(l Limits, x Sample) (State, Change) {
	var c Change
	overHard := l.Hard > 0 && x.KB > l.Hard
	c.OverHard = overHard && !s.OverHard
	if c.OverHard {
		s.HardSince = x.At
	}
	s.OverHard = overHard
	if s.Restarting {
		return s, c
	}
	if !x.HardOnly {
		s.stepSoft(l, x, &c)
	}
	if c.OverHard && s.Reason != Hard {
		s.NotBefore = 0 // whatever was postponed for another reason
	}
	graceOver := s.Over && x.At-s.Since >= l.Grace
	c.GraceOver = graceOver && !s.GraceOver
	s.GraceOver = graceOver
	c.Restart = s.dueReason(l, x)
	if c.Restart == "" || x.At < s.NotBefore || x.Blocked {
		c.Restart = ""
		return s, c
	}
	s.Restarting, s.Reason = true, c.Restart
	return s, c
}

// stepSoft starts and cancels the grace timer.
func (s *State) stepSoft(l Limits, x Sample, c *Change) {
	over := l.Soft > 0 && x.KB > l.Soft
	switch {
	case over && !s.Over:
		s.Over, s.Since, c.OverSoft = true, x.At, true
	case !over && s.Over && (!l.Legacy || x.Reversible && !s.Irreversible):
		s.Over, s.GraceOver, c.UnderSoft = false, false, true
	}
	s.Irreversible = l.Legacy && s.Over && (s.Irreversible || over && !x.Reversible)
}

// dueReason is why a restart is due, apart from what may delay it.
func (s State) dueReason(l Limits, x Sample) Reason {
	switch {
	case s.OverHard:
		return Hard
	case s.GraceOver && l.Legacy:
		return Legacy
	case s.GraceOver:
		return Soft
	case s.Committed:
		return s.Reason
	case l.MaxAgeAt > 0 && x.At >= l.MaxAgeAt:
		return Age
	}
	return ""
}

// Requested is a restart that somebody asked for: it begins with the next
// sample, at any size.
func (s State) Requested() State {
	if !s.Restarting {
		s.Committed, s.Reason, s.NotBefore = true, Control, 0
	}
	return s
}

// Resumed is a restart that was begun by a watcher that is gone, and that did
// not come to its end: it begins again with the next sample.
func (s State) Resumed() State {
	s.Restarting, s.Committed, s.NotBefore = false, true, 0
	return s
}

// DelayedUntil is a restart that begins later than it was due.
func (s State) DelayedUntil(at time.Duration) State {
	s.Restarting, s.NotBefore = false, at
	return s
}

// Postponed ends a restart that cannot be now: it is tried again after the retry
// time, if the process is still over the limit.
func (s State) Postponed(l Limits, at time.Duration) State { return s.DelayedUntil(Later(at, l.Retry)) }

// Failed ends a restart that did not come to its end: the process may be quiet,
// so it begins again after the retry time, at any size.
func (s State) Failed(l Limits, at time.Duration) State {
	s = s.Postponed(l, at)
	s.Committed = true
	return s
}

// Next is when the state may change by time alone, if it can: a sample is due
// then. It may lie in the past.
func (s State) Next(l Limits) (at time.Duration, ok bool) {
	at = Never
	if s.Over && l.Grace < Never {
		at = Later(s.Since, l.Grace)
	}
	if l.MaxAgeAt > 0 {
		at = min(at, l.MaxAgeAt)
	}
	if s.Committed || s.OverHard || s.GraceOver {
		at = 0
	}
	at = max(at, s.NotBefore)
	return at, !s.Restarting && at < Never
}

// OverSince is when the state went over a limit, the soft one or the hard one,
// whichever was first; ok if it is over one.
func (s State) OverSince() (at time.Duration, ok bool) {
	at = Never
	if s.Over {
		at = s.Since
	}
	if s.OverHard {
		at = min(at, s.HardSince)
	}
	return at, at < Never
}

// Footprint is what a Sidekiq needs before it has worked: its size when its
// title first appears, confirmed by two further checks without growth. A larger
// size later is a leak or a job, which a restart helps against. The zero
// Footprint is that of a process that has shown no title (yet).
type Footprint struct {
	BootKB    int64         `json:"boot_kb,omitempty"`   // when the title first appeared; 0: it has not
	BootAt    time.Duration `json:"boot_at,omitempty"`   // when that was
	Confirmed int           `json:"confirmed,omitempty"` // checks since then without growth
	Grew      bool          `json:"grew,omitempty"`      // it grew before it was confirmed, which shows nothing
}

const confirmations = 2

// Title is what a process shows of the title of a Sidekiq that has booted.
type Title uint8

const (
	NoTitle  Title = iota // none, or it was not read
	NewTitle              // it has one
	OldTitle              // it had one, and was not new, when it was first seen: its size after its boot is not known
)

// addSample adds a size, if the process shows a title.
func (f Footprint) addSample(x Sample) Footprint {
	switch {
	case x.Title == NoTitle:
	case f.BootKB == 0:
		f.BootKB, f.BootAt, f.Grew = x.KB, x.At, x.Title == OldTitle
	case f.IsFinal():
	case x.KB > f.BootKB+f.BootKB/100:
		f.Grew = true
	default:
		f.Confirmed++
	}
	return f
}

// IsFinal tells whether further sizes change nothing.
func (f Footprint) IsFinal() bool { return f.Grew || f.Confirmed >= confirmations }

// KB is the footprint; 0 if it is not known.
func (f Footprint) KB() int64 {
	if f.Confirmed < confirmations {
		return 0
	}
	return f.BootKB
}

// GrowthPerMinute is how fast the process has grown since its boot, in KB a
// minute; ok if there is something to measure.
func (f Footprint) GrowthPerMinute(kb int64, at time.Duration) (growth int64, ok bool) {
	took := at - f.BootAt
	if f.BootKB == 0 || took < time.Second {
		return 0, false
	}
	return int64(float64(kb-f.BootKB) / took.Minutes()), true
}

// Never is a time that never comes.
const Never = time.Duration(math.MaxInt64)

// Later is at plus d, or Never.
func Later(at, d time.Duration) time.Duration {
	if d > Never-at {
		return Never
	}
	return at + d
}
