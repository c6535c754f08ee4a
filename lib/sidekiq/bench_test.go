package sidekiq

import (
	"strconv"
	"testing"

	"gracekit/lib/proc"
)

// What a watcher does at each check, by scope: BenchmarkCheck/sidekiq should cost
// about what BenchmarkCheck/process costs.
func BenchmarkCheck(b *testing.B) {
	target := startRuby(b, `heart; 20.times { heart "processor" }`, nil)
	scan, lister := proc.NewScanner(), NewLister()
	b.Run("process", func(b *testing.B) {
		for b.Loop() {
			if _, err := scan.Usage(target, proc.ScopeProcess, proc.RSS); err != nil || target.Ended() {
				b.Fatal(err)
			}
		}
	})
	b.Run("sidekiq", func(b *testing.B) {
		for b.Loop() {
			if found, err := lister.List(target); err != nil || len(found) != 1 {
				b.Fatal(found, err)
			}
			if _, err := scan.Usage(target, proc.ScopeProcess, proc.RSS); err != nil || target.Ended() {
				b.Fatal(err)
			}
		}
	})
}

// The cost of a listing grows with the number of processes below the target.
func BenchmarkListBelow(b *testing.B) {
	for _, n := range []int{50, 500} {
		target := startRuby(b, `child { heart }; `+strconv.Itoa(n)+`.times { spawn "sleep", "1000" }`, nil)
		lister := NewLister()
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				if found, err := lister.List(target); err != nil || len(found) != 1 {
					b.Fatal(found, err)
				}
			}
		})
	}
}
