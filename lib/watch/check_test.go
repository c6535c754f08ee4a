package watch

import (
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

// pss and uss are read from a file that is opened anew at each check.
func TestACheckOfOneProcessAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates: test/run runs this without it")
	}
	for _, measure := range []string{"rss", "anon", "rss+swap"} {
		target, err := service.Parse(proc.ID{PID: os.Getpid(), Start: ownStart(t)}.String())
		if err != nil {
			t.Fatal(err)
		}
		cfg := &Config{Target: target, Soft: units.KB(1 << 40), Hard: units.KB(1 << 40), Measure: measure, Interval: time.Second,
			Log: slog.New(slog.DiscardHandler), Messages: discard{}}
		h := newHost(cfg, -1)
		l := newLoop(cfg, h)
		if err := l.start(); err != nil {
			t.Fatal(err)
		}
		check := func() {
			if err := l.checkAll(h.Now(), false); err != nil {
				t.Fatal(err)
			}
			for _, d := range l.instances {
				if d.unreadableSince > 0 || d.KB == 0 {
					t.Fatalf("%s: %d KB", measure, d.KB)
				}
			}
		}
		for _, d := range l.instances { // it has booted: its title is not read any more
			d.Footprint.Grew = true
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
	if raceDetector {
		t.Skip("the race detector allocates: test/run runs this without it")
	}
	p, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	h := &machineProcess{p, newHost(&Config{Measure: "rss"}, -1)}
	defer h.Close()
	var notes BootNotes
	h.Read(&notes) // the buffer gets its size
	if n := testing.AllocsPerRun(10, func() { h.Read(&notes) }); n > 12 {
		t.Errorf("%v allocations a reading", n)
	}
}

func ownStart(t *testing.T) uint64 {
	p, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.ID.Start
}

type discard struct{ io.Writer }

func (discard) Error(string, ...any) {}
func (discard) Warn(string, ...any)  {}
func (discard) Info(string, ...any)  {}
func (discard) Note(string, ...any)  {}

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
