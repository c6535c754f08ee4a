// Package starvation tells a test how busy the machine was, so that a sentence with a time in it fails for its program's
// fault alone.
package starvation

import (
	"sync/atomic"
	"testing"
	"time"
)

// Measure measures, until the test ends, how much later than asked for a sleeper wakes: what the machine takes from all.
func Measure(t testing.TB) (so func() time.Duration) {
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
	t.Cleanup(func() { close(stop) })
	return func() time.Duration { return time.Duration(late.Load()) }
}
