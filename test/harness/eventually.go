package harness

import "time"

// Patience is how long an event that must come may take. The machine may be slow; only a fault takes this long.
const Patience = 2 * time.Minute

// await returns true as soon as cond is true, and false if that takes longer than Patience.
func await(cond func() bool) bool {
	for deadline := time.Now().Add(Patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Eventually waits until cond is true, and fails the test when that takes longer than Patience.
func (w *World) Eventually(what string, cond func() bool) {
	w.Helper()
	if !await(cond) {
		w.Fatalf("after %v still not: %s", Patience, what)
	}
}

// Polls waits until a process has handled what has come, and waits in ppoll(2).
func (w *World) Polls(p Process) {
	w.Helper()
	w.Eventually(p.ID()+" is in ppoll", p.polls())
}

// Happens is true if it has happened within that time: for what must not happen.
func Happens(event <-chan struct{}, within time.Duration) bool {
	select {
	case <-event:
		return true
	case <-time.After(within):
		return false
	}
}
