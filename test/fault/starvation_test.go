package fault

import (
	"sync/atomic"
	"time"
)

// starvation measures how much later than asked for a sleeper wakes: what the machine takes from all, and no program's fault.
func (s *stage) starvation() (so func() time.Duration) {
	const nap = 10 * time.Millisecond
	var late atomic.Int64
	stop := make(chan struct{})
	go func() {
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-time.After(nap):
			}
			now := time.Now()
			late.Add(int64(now.Sub(last) - nap))
			last = now
		}
	}()
	s.Cleanup(func() { close(stop) })
	return func() time.Duration { return time.Duration(late.Load()) }
}
