package grace

import "time"

// ReplacementWait keeps the next of several instances from its restart until the
// parent has replaced the last one: until there are as many as before, or for the
// retry time at most. The zero ReplacementWait waits for nothing.
type ReplacementWait struct {
	Until time.Duration
	Count int // instances that there were; 0: no wait
}

// WaitForReplacement is the wait after a restart that ended at at.
func WaitForReplacement(count int, l Limits, at time.Duration) ReplacementWait {
	return ReplacementWait{Until: Later(at, l.Retry), Count: count}
}

// Active tells whether a restart has to wait.
func (r ReplacementWait) Active() bool { return r.Count > 0 }

// Update ends the wait when there are enough instances, or when it has taken too long.
func (r ReplacementWait) Update(count int, at time.Duration) ReplacementWait {
	if count >= r.Count || at >= r.Until {
		return ReplacementWait{}
	}
	return r
}
