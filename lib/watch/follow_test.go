package watch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// ofService is config for a service whose next process, a second after each exit, has that size.
func ofService(t *testing.T, w *fakeWorld, soft, hard int64, size func(age time.Duration) int64) Config {
	cfg := config(t, soft, hard)
	follow(t, &cfg, w, func(pid int) *fakeProcess { return w.start(pid, size) })
	return cfg
}

func TestTheGraceTimerOfAProcessThatExitsIsCancelled(t *testing.T) {
	w := newWorld(t, constant(101))
	cfg := ofService(t, w, 100, 0, between(1, 2*time.Second, 101))
	w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.target.dead = true }}}
	j, _ := watchFor(w, cfg, 18*time.Second)
	expect(t, "service", j, "0s over-soft", "5s target-gone", "5s target-up", "7s over-soft", "17s grace-over", "17s restart-begin")
	if !strings.Contains(j.full.String(), `stopped="the grace timer"`) {
		t.Errorf("it is not logged that the timer has stopped: %s", j.full.String())
	}
}

func TestAProcessThatExitsDuringItsRestartIsRestartedOnce(t *testing.T) {
	w := newWorld(t, constant(201))
	cfg := ofService(t, w, 0, 200, constant(1))
	w.prog = func() run { return run{takes: 20 * time.Second} }
	w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.target.dead = true }}}
	j, _ := watchFor(w, cfg, time.Hour)
	expect(t, "service", j, "0s over-hard", "0s restart-begin", "20s restart-done", "20s target-gone", "20s target-up")
}

func TestAFailedRestartIsNotBegunAgainWhileTheServiceIsWantedDown(t *testing.T) {
	w := newWorld(t, constant(201))
	cfg := ofService(t, w, 0, 200, constant(1))
	w.prog = func() run { return run{takes: time.Second, code: 1} }
	w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.wanted = service.WantedState{} }},
		{at: start + 150*time.Second, do: func() { w.wanted.Up, w.prog = true, func() run { return run{takes: time.Second, kills: true} } }}}
	watchFor(w, cfg, 100*time.Second)
	j, _ := watchFor(w, cfg, 100*time.Second) // nor by the next watcher
	if len(w.progs) != 2 || len(restartsOf(j, "restart-postponed")) == 0 || len(restartsOf(j, "restart-done")) != 1 {
		t.Errorf("%d progs: %q", len(w.progs), j.lines)
	}
}

func TestTheNextWatcherKeepsToTheTimeLimitOfProg(t *testing.T) {
	w := newWorld(t, constant(201))
	cfg := config(t, 0, 200)
	cfg.ProgTimeout = 20 * time.Second
	w.prog = func() run { return run{takes: time.Hour} }
	watchFor(w, cfg, 15*time.Second)
	j, _ := watchFor(w, cfg, 30*time.Second)
	expect(t, "next", j, "35s ERROR", "35s restart-failed")
}

func TestARequestRightAfterAStartIsForTheNewProcess(t *testing.T) {
	w := newWorld(t, constant(1))
	cfg := ofService(t, w, 0, 200, constant(1))
	cfg.Interval, cfg.Control = 0, "fifo"
	w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.target.dead = true }}, {at: start + 5*time.Second, commands: "t"}}
	j, _ := watchFor(w, cfg, 8*time.Second)
	expect(t, "service", j, "5s target-gone", "5s target-up", "5s restart-begin", "6s restart-done", "6s target-gone", "6s target-up")
	if len(w.progs) != 1 || !strings.Contains(w.progs[0], "GRACE_TARGET=101:") {
		t.Errorf("%q", w.progs)
	}
}

// family is a parent with children of these sizes, which starts another small child for each that has exited, after
// replaced; not at all if that is negative.
func family(t *testing.T, replaced time.Duration, sizes ...int64) (*fakeWorld, Config) {
	w := newWorld(t, constant(1))
	for i, kb := range sizes {
		w.children = append(w.children, w.start(101+i, constant(kb)))
	}
	w.prog = func() run {
		n := 101 + len(w.children)
		return run{takes: time.Second, kills: true, does: func() {
			if replaced >= 0 {
				w.script = append(w.script, fakeEvent{at: w.now + replaced, do: func() { w.children = append(w.children, w.start(n, constant(1))) }})
			}
		}}
	}
	cfg := config(t, 100, 0)
	cfg.Scope, cfg.Retry = proc.ScopeChildren, time.Hour
	return w, cfg
}

func TestEachChildHasATimerOfItsOwnWhichTheNextWatcherResumes(t *testing.T) {
	w, cfg := family(t, 3*time.Second, 1, 101, 1)
	watchFor(w, cfg, 5*time.Second)
	j, err := watchFor(w, cfg, time.Minute)
	if err != nil {
		t.Error(err)
	}
	expect(t, "next", j, "5s target-up", "5s target-up", "5s watching", "10s grace-over", "10s restart-begin", "11s restart-done", "11s target-gone",
		"14s target-up")
	if len(w.progs) != 1 || !strings.Contains(w.progs[0], "GRACE_TARGET=102:") {
		t.Errorf("%q", w.progs)
	}
}

func TestChildrenAreRestartedOneAtATime(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		replaced time.Duration // after each exit; negative: never
		sizes    []int64
		change   func(*Config, *fakeWorld)
		begun    []time.Duration
	}{
		"each after the replacement of the last one": {3 * s, []int64{101, 1, 101, 101}, nil, []time.Duration{10 * s, 14 * s, 18 * s}},
		"without a replacement, after the retry time": {-1, []int64{101, 101}, func(c *Config, _ *fakeWorld) { c.Retry = time.Minute },
			[]time.Duration{10 * s, 71 * s}},
		"a replacement before prog has exited counts": {-1, []int64{101, 101}, func(c *Config, w *fakeWorld) {
			w.prog = func() run {
				w.script = append(w.script, fakeEvent{at: w.now + 2*s, do: func() { w.children[0].dead = true }},
					fakeEvent{at: w.now + 3*s, do: func() { w.children = append(w.children, w.start(201, constant(1))) }})
				return run{takes: 8 * s}
			}
		}, []time.Duration{10 * s, 18 * s}},
		"on request, whatever the interval": {3 * s, []int64{1, 1, 1}, func(c *Config, w *fakeWorld) {
			c.Interval, c.Control = 0, "fifo"
			w.script = []fakeEvent{{at: start + 5*s, commands: "t"}}
		}, []time.Duration{5 * s, 9 * s, 13 * s}},
		"for their age, and a part of a tenth of that": {3 * s, []int64{1, 1, 1}, func(c *Config, _ *fakeWorld) { c.MaxAge = time.Minute },
			[]time.Duration{63410 * time.Millisecond, 67410 * time.Millisecond, 71410 * time.Millisecond}},
	} {
		w, cfg := family(t, c.replaced, c.sizes...)
		if c.change != nil {
			c.change(&cfg, w)
		}
		j, err := watchFor(w, cfg, 90*s)
		if begun := restartsOf(j, "restart-begin"); err != nil || !slices.Equal(begun, c.begun) {
			t.Errorf("%s: begun at %v, want %v: %v %q", name, begun, c.begun, err, j.lines)
		}
		if w.target.dead || len(c.sizes) == 4 && w.children[1].dead {
			t.Errorf("%s: the parent or a small child was restarted", name)
		}
	}
}
