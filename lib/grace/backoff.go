package grace

import "time"

// Backoff is how many instances of a service, one after the other, were over a
// limit within a minute of their start. From the third on the limit is below
// their own footprint, and to restart them is of no use: the time between
// restarts doubles.
type Backoff struct {
	Early int           // instances that were restarted so
	Last  time.Duration // when the last of them was restarted
	Gap   time.Duration // between that and the restart before
	Over  time.Duration // when it had gone over the limit
}

const (
	early   = time.Minute
	enough  = 3
	longest = time.Hour
)

// IsEarly tells whether a process that was started at born, and went over a
// limit at over, was early.
func IsEarly(born, over time.Duration) bool { return over-born <= early }

// follows tells whether a process that was started at born came after the last
// one of the backoff. Another child of the same parent did not: that all the
// workers of a cluster are early once is no loop.
func (s Backoff) follows(born time.Duration) bool { return s.Early == 0 || born > s.Over }

// NotBefore is when an instance that was started at born, and was early, may be
// restarted, and whether that is because the limit is too low.
func (s Backoff) NotBefore(born time.Duration) (at time.Duration, tooLow bool) {
	if s.Early < enough-1 || !s.follows(born) {
		return 0, false
	}
	return s.Last + min(2*s.Gap, longest), true
}

// Restarted counts an instance that was started at born, went over a limit at
// over, and was restarted at at.
func (s Backoff) Restarted(born, over, at time.Duration) Backoff {
	switch {
	case !s.follows(born):
		return s
	case !IsEarly(born, over):
		return Backoff{}
	case s.Early == 0:
		return Backoff{Early: 1, Last: at, Over: over}
	}
	return Backoff{Early: s.Early + 1, Last: at, Gap: at - s.Last, Over: over}
}

// Stays ends the backoff: an instance that was started at born is under the
// limits, and old enough to say so.
func (s Backoff) Stays(born, at time.Duration) Backoff {
	if s.Early > 0 && s.follows(born) && at-born > early {
		return Backoff{}
	}
	return s
}
