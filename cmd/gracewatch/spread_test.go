package main

import (
	"testing"
	"time"

	"gracekit/lib/proc"
)

func TestTheSpreadIsAnotherPartForEachProcessAndAlwaysTheSame(t *testing.T) {
	const most = time.Hour
	tenths := map[time.Duration]int{}
	for pid := 1000; pid < 2000; pid++ { // children of one parent, started together
		id := proc.ID{PID: pid, Start: 5678901}
		d := spread(id, most)
		if d < 0 || d > most || d != spread(id, most) {
			t.Fatalf("%v: %v of %v, and then %v", id, d, most, spread(id, most))
		}
		tenths[d*10/(most+1)]++
	}
	for tenth := range time.Duration(10) {
		if n := tenths[tenth]; n < 50 || n > 150 {
			t.Errorf("%d of 1000 are in the %d. tenth: %v", n, tenth+1, tenths)
		}
	}
	if d := spread(proc.ID{PID: 1, Start: 1}, 0); d != 0 {
		t.Errorf("%v of nothing", d)
	}
}
