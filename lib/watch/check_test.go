package watch

import (
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"gracekit/lib/proc"
)

// self is this process, for tests of what the race detector would change: test/run runs them without it too.
func self(t *testing.T) *proc.Process {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	p, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// pss and uss are read from a file that is opened anew at each check.
func TestACheckOfOneProcessAllocatesNothing(t *testing.T) {
	p := self(t)
	for _, measure := range []string{"rss", "anon", "rss+swap"} {
		cfg := &Config{Target: target(t, p.ID.String()), Soft: limitOf(1 << 40), Hard: limitOf(1 << 40), Measure: measure, Interval: time.Second,
			Log: slog.New(slog.DiscardHandler), Messages: &journal{w: &fakeWorld{}}}
		h := newHost(cfg, -1)
		l := newLoop(cfg, h)
		if err := l.start(); err != nil {
			t.Fatal(err)
		}
		d := l.order[0]
		d.Footprint.Grew = true // it has booted: its title is not read any more
		check := func() {
			if err := l.checkAll(h.Now(), false); err != nil || d.unreadableSince > 0 || d.KB == 0 {
				t.Fatalf("%s: %d KB, %v", measure, d.KB, err)
			}
		}
		check() // the buffers get their size
		if n := testing.AllocsPerRun(10, check); n != 0 {
			t.Errorf("%s: %v allocations a check", measure, n)
		}
		l.close()
		h.close()
	}
}

// Garbage is collected late, and what is resident stays locked: a process that
// never shows a title is read for ten minutes.
func TestReadingTheTitleOfABootingProcessMakesLittleGarbage(t *testing.T) {
	p := &machineProcess{self(t), newHost(&Config{Measure: "rss"}, -1)}
	var notes BootNotes
	p.Read(&notes) // the buffer gets its size
	if n := testing.AllocsPerRun(10, func() { p.Read(&notes) }); n > 12 {
		t.Errorf("%v allocations a reading", n)
	}
}

func TestTheSpreadIsAnotherPartForEachProcessAndAlwaysTheSame(t *testing.T) {
	const most = time.Hour
	var tenths [10]int
	for pid := 1000; pid < 2000; pid++ { // children of one parent, started together
		id := proc.ID{PID: pid, Start: 5678901}
		d := spread(id, most)
		if d < 0 || d > most || d != spread(id, most) {
			t.Fatalf("%v: %v of %v, and then %v", id, d, most, spread(id, most))
		}
		tenths[d*10/(most+1)]++
	}
	if slices.Min(tenths[:]) < 50 || slices.Max(tenths[:]) > 150 {
		t.Errorf("of 1000, there are in each tenth: %v", tenths)
	}
}
