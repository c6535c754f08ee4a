package watch

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

// between is one size until a time, and another from then on.
func between(before int64, at time.Duration, after int64) func(time.Duration) int64 {
	return func(age time.Duration) int64 {
		if age < at {
			return before
		}
		return after
	}
}

func TestWhenAProcessIsRestarted(t *testing.T) {
	exits := func(code int, kills bool) func() run {
		return func() run { return run{takes: time.Second, code: code, kills: kills} }
	}
	for name, c := range map[string]struct {
		size   func(time.Duration) int64
		change func(*Config, *fakeWorld)
		most   time.Duration
		want   []string
		err    error
	}{
		"over the soft limit for the grace time": {
			size: constant(101), most: time.Hour,
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-done"}},
		"over the hard limit": {
			size: between(90, 5*time.Second, 201), most: time.Hour,
			want: []string{"5s over-soft", "5s over-hard", "5s restart-begin", "6s restart-done"}},
		"the grace time expires between two checks": {
			size: constant(101), most: time.Hour, change: func(c *Config, _ *fakeWorld) { c.Interval = 7 * time.Second },
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-done"}},
		"the time of day is set back within the grace time": {
			size: constant(101), most: time.Hour, change: func(_ *Config, w *fakeWorld) {
				w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.set = -48 * time.Hour }}}
			},
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-done"}},
		"it is too old": {
			size: constant(1), most: time.Hour, change: func(c *Config, _ *fakeWorld) { c.MaxAge = 100 * time.Millisecond },
			want: []string{"100ms restart-begin", "1.1s restart-done"}},
		"it exits by itself": {
			size: constant(1), most: time.Hour, change: func(_ *Config, w *fakeWorld) {
				w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.target.dead = true }}}
			},
			want: []string{"5s target-gone"}, err: ErrEnded},
		"prog exits 75: postponed, and tried again": {
			size: constant(101), most: 75 * time.Second, change: func(_ *Config, w *fakeWorld) { w.prog = exits(75, false) },
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-postponed", "1m11s restart-begin", "1m12s restart-postponed"}},
		"postponed for the soft limit, and over the hard one: at once": {
			size: between(101, 20*time.Second, 201), most: 21 * time.Second, change: func(_ *Config, w *fakeWorld) { w.prog = exits(75, false) },
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-postponed", "20s over-hard", "20s restart-begin"}},
		"prog exits 1: failed, and begun again at any size": {
			size: between(101, 20*time.Second, 1), most: 72 * time.Second, change: func(_ *Config, w *fakeWorld) { w.prog = exits(1, false) },
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-failed", "20s under-soft", "1m11s restart-begin"}},
		"prog exits 1, but the process has exited: done": {
			size: constant(201), most: time.Hour, change: func(_ *Config, w *fakeWorld) { w.prog = exits(1, true) },
			want: []string{"0s over-soft", "0s over-hard", "0s restart-begin", "1s restart-done"}},
		"prog exits 0, and the process is running after five seconds: failed": {
			size: constant(201), most: 10 * time.Second, change: func(_ *Config, w *fakeWorld) { w.prog = exits(0, false) },
			want: []string{"0s over-soft", "0s over-hard", "0s restart-begin", "6s restart-failed"}},
		"prog exits 0, and the process exits within five seconds: done": {
			size: constant(201), most: time.Hour, change: func(_ *Config, w *fakeWorld) {
				w.prog = exits(0, false)
				w.script = []fakeEvent{{at: start + 4*time.Second, do: func() { w.target.dead = true }}}
			},
			want: []string{"0s over-soft", "0s over-hard", "0s restart-begin", "4s restart-done"}},
		"prog takes too long: TERM": {
			size: constant(201), most: 30 * time.Second, change: func(c *Config, w *fakeWorld) {
				c.ProgTimeout = 20 * time.Second
				w.prog = func() run { return run{takes: time.Hour} }
			},
			want: []string{"0s over-soft", "0s over-hard", "0s restart-begin", "20s ERROR", "20s restart-failed", "21s grace-over"}},
		"over the hard limit during a restart for the soft one: logged": {
			size: growing(101, 20), most: 30 * time.Second, change: func(c *Config, w *fakeWorld) {
				c.Grace = 0
				w.prog = func() run { return run{takes: 20 * time.Second, kills: true} }
			},
			want: []string{"0s over-soft", "0s grace-over", "0s restart-begin", "5s over-hard", "20s restart-done"}},
		"a reading that fails: logged once, and no restart": {
			size: constant(101), most: time.Minute, change: func(_ *Config, w *fakeWorld) {
				w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.target.err = errors.New("EIO") }},
					{at: start + 25*time.Second, do: func() { w.target.err, w.target.size = nil, constant(1) }}}
			},
			want: []string{"0s over-soft", "5s read-failed", "25s under-soft"}},
		"its cgroup is frozen: postponed": {
			size: constant(201), most: 62 * time.Second, change: func(_ *Config, w *fakeWorld) {
				w.target.frozen = true
				w.script = []fakeEvent{{at: start + 30*time.Second, do: func() { w.target.frozen = false }}}
			},
			want: []string{"0s over-soft", "0s over-hard", "0s restart-postponed", "10s grace-over", "1m0s restart-begin", "1m1s restart-done"}},
		"in place: done when it has shrunk, and the timer starts anew": {
			size: constant(101), most: 2 * time.Minute, change: func(c *Config, w *fakeWorld) {
				c.InPlace = true
				w.prog = exits(0, false)
				w.script = []fakeEvent{{at: start + 15*time.Second, do: func() { w.target.size = constant(50) }}}
			},
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "15s restart-done"}},
		"in place: failed when it has not": {
			size: constant(101), most: 75 * time.Second, change: func(c *Config, w *fakeWorld) {
				c.InPlace = true
				w.prog = exits(0, false)
			},
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "1m11s restart-failed"}},
		"quieted by something else: not for the soft limit, until it has been idle for an hour": {
			size: constant(101), most: 2 * time.Hour, change: func(c *Config, w *fakeWorld) {
				c.Retry = 30 * time.Minute
				w.target.quiet, w.target.idle = true, true
			},
			want: []string{"0s over-soft", "10s grace-over", "10s restart-postponed", "30m10s restart-postponed", "1h0m10s ERROR", "1h0m10s restart-begin",
				"1h0m11s restart-done"}},
		"quieted by something else, and over the hard limit": {
			size: constant(201), most: time.Hour, change: func(_ *Config, w *fakeWorld) { w.target.quiet = true },
			want: []string{"0s over-soft", "0s over-hard", "0s restart-begin", "1s restart-done"}},
		"a share follows the memory there is, within five seconds": {
			size: constant(500), most: time.Minute, change: func(c *Config, w *fakeWorld) {
				c.Soft, c.Hard = units.Size{}, units.Size{}
				if err := c.Soft.Set("80%"); err != nil {
					panic(err)
				}
				c.Interval = 3 * time.Second // every second check would be each 6 s
				w.target.available = 1000
				w.script = []fakeEvent{{at: start + 7*time.Second, do: func() { w.target.available = 600 }}}
			},
			want: []string{"9s over-soft", "19s grace-over", "19s restart-begin", "20s restart-done"}},
		"paused: nothing happens until it is resumed": {
			size: between(1, 10*time.Second, 201), most: time.Hour, change: func(_ *Config, w *fakeWorld) {
				w.script = []fakeEvent{{at: start + 5*time.Second, commands: "p"}, {at: start + 30*time.Second, commands: "c"}, {at: start + 60*time.Second, commands: "u"}}
			},
			want: []string{"5s paused", "1m0s resumed", "1m0s over-soft", "1m0s over-hard", "1m0s restart-begin", "1m1s restart-done"}},
		"requested during a pause: when it is resumed": {
			size: constant(1), most: time.Hour, change: func(_ *Config, w *fakeWorld) {
				w.script = []fakeEvent{{at: start + 5*time.Second, commands: "pt"}, {at: start + 60*time.Second, commands: "u"}}
			},
			want: []string{"5s paused", "1m0s resumed", "1m0s restart-begin", "1m1s restart-done"}},
		"requested after it was postponed: at once": {
			size: constant(101), most: 13 * time.Second, change: func(_ *Config, w *fakeWorld) {
				w.prog = exits(75, false)
				w.script = []fakeEvent{{at: start + 12*time.Second, commands: "t"}}
			},
			want: []string{"0s over-soft", "10s grace-over", "10s restart-begin", "11s restart-postponed", "12s restart-begin"}},
		"requested a thousand times, and again during the restart: one": {
			size: constant(1), most: time.Hour, change: func(_ *Config, w *fakeWorld) {
				w.prog = func() run { return run{takes: 10 * time.Second, kills: true} }
				w.script = []fakeEvent{{at: start + 5*time.Second, commands: strings.Repeat("t", 1000)}, {at: start + 10*time.Second, commands: "t"}}
			},
			want: []string{"5s restart-begin", "15s restart-done"}},
		"many commands are carried out in order, and unknown ones ignored": {
			size: constant(101), most: time.Hour, change: func(c *Config, w *fakeWorld) {
				c.Interval, c.Control = 0, "fifo"
				w.script = []fakeEvent{{at: start + 5*time.Second, commands: "cppp\nuu z\x00?\npupux"}}
			},
			want: []string{"5s paused", "5s resumed", "5s paused", "5s resumed", "5s paused", "5s resumed"}},
		"a dry run logs it, time and again": {
			size: constant(201), most: 61 * time.Second, change: func(c *Config, _ *fakeWorld) { c.DryRun = true },
			want: []string{"0s over-soft", "0s over-hard", "0s restart-begin", "10s grace-over", "1m0s restart-begin"}},
		"without a prog it is the caller's turn": {
			size: constant(201), most: time.Hour, change: func(c *Config, _ *fakeWorld) { c.Prog = nil },
			want: []string{"0s over-soft", "0s over-hard"}},
		"no command for ten minutes, where nothing else checks": {
			size: constant(1), most: time.Hour, change: func(c *Config, _ *fakeWorld) { c.Interval, c.Control = 0, "fifo" },
			want: []string{"10m0s WARN"}},
		"on command: the grace time expires all the same": {
			size: constant(101), most: time.Hour, change: func(c *Config, w *fakeWorld) {
				c.Interval, c.Control = 0, "fifo"
				w.script = []fakeEvent{{at: start + 5*time.Second, commands: "c"}}
			},
			want: []string{"5s over-soft", "15s grace-over", "15s restart-begin", "16s restart-done"}},
		"legacy with a job hook: until it is heard, the clock's checks can be cancelled": {
			size: between(101, 5*time.Second, 1), most: time.Hour, change: func(c *Config, _ *fakeWorld) { c.Legacy, c.Control = true, "fifo" },
			want: []string{"0s over-soft", "5s under-soft"}},
		"legacy with a job hook: once it is heard, only the hook counts for the soft limit": {
			size: between(1, 20*time.Second, 101), most: 11 * time.Minute, change: func(c *Config, w *fakeWorld) {
				c.Legacy, c.Control, c.Grace = true, "fifo", time.Hour
				w.script = []fakeEvent{{at: start + 5*time.Second, commands: "c"}}
			},
			want: []string{"10m5s over-soft"}}, // it has been silent for ten minutes
		"legacy with a job hook: the hard limit counts always": {
			size: between(1, 20*time.Second, 201), most: time.Hour, change: func(c *Config, w *fakeWorld) {
				c.Legacy, c.Control = true, "fifo"
				w.script = []fakeEvent{{at: start + 15*time.Second, commands: "c"}}
			},
			want: []string{"20s over-hard", "20s restart-begin", "21s restart-done"}},
		"the machine slept: the next interval counts from then": {
			size: constant(1), most: time.Hour, change: func(c *Config, w *fakeWorld) {
				c.Interval = 10 * time.Second
				w.script = []fakeEvent{{at: start + 5*time.Second, do: func() { w.now += 1000 * time.Second; w.target.size = constant(101) }}}
			},
			want: []string{"16m45s over-soft", "16m55s grace-over", "16m55s restart-begin", "16m56s restart-done"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.size)
			cfg := config(t, 100, 200)
			if c.change != nil {
				c.change(&cfg, w)
			}
			j, err := watchFor(w, cfg, c.most)
			if err != c.err {
				t.Errorf("ended with %v, want %v", err, c.err)
			}
			expect(t, name, j, c.want...)
		})
	}
}

// The state of a check that is not the only one is that of the one before.
func TestHowOneCheckEnds(t *testing.T) {
	prog := []string{"prog"}
	for name, c := range map[string]struct {
		prog []string
		size func(time.Duration) int64
		run  run
		want []error // of each check, ten seconds after the last
	}{
		"nothing to do":                 {prog, constant(1), run{}, []error{nil}},
		"the restart is done":           {prog, constant(201), run{kills: true}, []error{nil, ErrEnded}},
		"postponed":                     {prog, constant(201), run{code: 75}, []error{ErrPostponed, nil}},
		"failed":                        {prog, constant(201), run{code: 1}, []error{ErrFailed, nil}},
		"the process is running":        {prog, constant(201), run{}, []error{ErrFailed}},
		"a test, under the limits":      {nil, constant(1), run{}, []error{ErrNotDue}},
		"a test, over soft":             {nil, constant(101), run{}, []error{ErrNotDue, nil, nil}},
		"a test, back under the limits": {nil, between(201, 15*time.Second, 1), run{}, []error{nil, nil, ErrNotDue}},
		"a test, over hard":             {nil, constant(201), run{}, []error{nil, nil}},
	} {
		w, cfg := newWorld(t, c.size), config(t, 100, 200)
		cfg.Once, cfg.Prog = true, c.prog
		w.prog = func() run { return c.run }
		for i, want := range c.want {
			if j, err := watchFor(w, cfg, time.Hour); err != want {
				t.Errorf("%s: check %d: %v, want %v: %q", name, i, err, want, j.lines)
			}
			w.now += 10 * time.Second
		}
	}
}

func TestAServiceIsFollowed(t *testing.T) {
	w := newWorld(t, constant(201))
	cfg := ofService(t, w, 0, 200, constant(50))
	j, err := watchFor(w, cfg, time.Minute)
	if err != nil {
		t.Error(err)
	}
	expect(t, "service", j, "0s over-hard", "0s restart-begin", "1s restart-done", "1s target-gone", "1s target-up")
	if len(w.progs) != 1 || !strings.Contains(w.progs[0], " GRACE_SERVICE="+cfg.Target.Text+" ") {
		t.Errorf("%q", w.progs)
	}
}

func TestAServiceThatIsWantedDownOrPausedIsNotRestarted(t *testing.T) {
	for why, wanted := range map[string]service.WantedState{"wanted down": {}, "paused": {Up: true, Paused: true}} {
		w := newWorld(t, constant(201))
		w.wanted = wanted
		cfg := ofService(t, w, 0, 200, constant(50))
		j, _ := watchFor(w, cfg, 61*time.Second)
		expect(t, why, j, "0s over-hard", "0s restart-postponed", "1m0s restart-postponed")
		if !strings.Contains(j.full.String(), why) {
			t.Errorf("%s is not in %s", why, j.full.String())
		}
	}
}

func TestASupervisorThatHasNotStartedIsWaitedForWithOneLine(t *testing.T) {
	w := newWorld(t, constant(50))
	cfg := config(t, 0, 200)
	follow(t, &cfg, w, nil)
	w.refused = service.ErrUnsupervised
	w.script = []fakeEvent{{at: start + 10*time.Minute, do: func() { w.refused = nil }}}
	j, err := watchFor(w, cfg, time.Hour)
	if err != nil || len(j.lines) != 2 || j.lines[0] != "0s read-failed" || !strings.HasSuffix(j.lines[1], " watching") {
		t.Errorf("%v %q", err, j.lines)
	}
}

// restartsOf are the times of an event.
func restartsOf(j *journal, event string) (times []time.Duration) {
	for _, line := range j.lines {
		if at, name, _ := strings.Cut(line, " "); name == event {
			d, _ := time.ParseDuration(at)
			times = append(times, d)
		}
	}
	return times
}

// sidekiqs is a service whose processes show their titles two seconds after their start.
func sidekiqs(t *testing.T, size func(time.Duration) int64) (*fakeWorld, Config) {
	w, cfg := newWorld(t, size), config(t, 0, 0)
	follow(t, &cfg, w, func(pid int) *fakeProcess {
		p := w.start(pid, size)
		p.titledAt = 2 * time.Second
		return p
	})
	w.target.titledAt = 2 * time.Second
	return w, cfg
}

func TestASoftLimitBelowTheFootprintBacksOffUpToAnHour(t *testing.T) {
	w, cfg := sidekiqs(t, constant(150))
	cfg.Soft, cfg.Interval = units.KB(100), 3*time.Second
	j, _ := watchFor(w, cfg, 12*time.Hour)
	if n := len(restartsOf(j, "limit-too-low")); n < 3 || restartsOf(j, "limit-too-low")[0] > 10*time.Second {
		t.Errorf("limit-too-low at %v", restartsOf(j, "limit-too-low"))
	}
	done := restartsOf(j, "restart-done")
	if len(done) < 12 || len(done) > 25 {
		t.Fatalf("%d restarts in 12 hours: %v", len(done), done)
	}
	if last := done[len(done)-1] - done[len(done)-2]; last < 59*time.Minute || last > 61*time.Minute {
		t.Errorf("the last two are %v apart", last)
	}
	for _, want := range []string{"level=ERROR msg=limit-too-low", "fits_kb=225", "boot_kb=150", "limit=soft", "it had 150 KB right after its boot"} {
		if !strings.Contains(j.full.String(), want) {
			t.Errorf("%s is not in the log", want)
		}
	}
}

func TestASoftLimitBelowTheFootprintIsSeenThoughTheGraceTimeIsShort(t *testing.T) {
	w, cfg := sidekiqs(t, constant(150))
	cfg.Soft, cfg.Grace = units.KB(100), 0
	j, _ := watchFor(w, cfg, time.Hour)
	if done := restartsOf(j, "restart-done"); len(done) > 12 || len(restartsOf(j, "limit-too-low")) == 0 {
		t.Errorf("%d restarts in an hour", len(done))
	}
}

func TestALeakerIsNeverDelayedAtItsHardLimit(t *testing.T) {
	w, cfg := sidekiqs(t, growing(50, 20)) // over soft at 2.5 s, over hard at 7.5 s
	cfg.Soft, cfg.Hard, cfg.Grace = units.KB(100), units.KB(200), time.Hour
	j, _ := watchFor(w, cfg, 10*time.Minute)
	if strings.Contains(j.full.String(), "limit-too-low") {
		t.Error("it is logged that its limit is too low")
	}
	if done := restartsOf(j, "restart-done"); len(done) < 50 {
		t.Errorf("%d restarts in ten minutes", len(done))
	}
}

func TestAProcessWithoutATitleThatLeaksStaysNearItsHardLimit(t *testing.T) {
	var largest int64
	leak := func(age time.Duration) int64 {
		kb := growing(10, 40)(age)
		largest = max(largest, kb)
		return kb
	}
	w := newWorld(t, leak)
	cfg := ofService(t, w, 60, 120, leak)
	cfg.Grace, cfg.Interval = time.Second, 200*time.Millisecond
	watchFor(w, cfg, 10*time.Minute)
	if largest > 240 {
		t.Errorf("it had %d KB, the hard limit is 120", largest)
	}
}

func TestATargetStandsInForSidekiqsThatAreNotThereYet(t *testing.T) {
	w := newWorld(t, constant(5))
	w.script = []fakeEvent{{at: start + 10*time.Second, do: func() { w.children = []*fakeProcess{w.start(101, constant(201))} }}}
	cfg := config(t, 0, 200)
	cfg.Scope = proc.ScopeSidekiq
	j, _ := watchFor(w, cfg, 12*time.Second)
	expect(t, "wrapper", j, "10s target-up", "10s over-hard", "10s restart-begin", "11s restart-done", "11s target-gone")
	if len(w.progs) != 1 || !strings.Contains(w.progs[0], "GRACE_TARGET="+w.children[0].id.String()) {
		t.Errorf("%q", w.progs)
	}
}

// A watcher that is killed after five seconds leaves its state to the next one.
func TestAKilledWatcherIsResumed(t *testing.T) {
	legacy := func(c *Config, _ *fakeWorld) { c.Legacy = true }
	slowProg := func(_ *Config, w *fakeWorld) {
		w.prog = func() run { return run{takes: 20 * time.Second, kills: true} }
	}
	for name, c := range map[string]struct {
		size           func(time.Duration) int64
		before, killed func(*Config, *fakeWorld) // may be nil
		want           []string                  // of the next one
		progs          int                       // of both
	}{
		"the grace timer, whatever the time of day": {constant(101), nil, func(_ *Config, w *fakeWorld) { w.set = 48 * time.Hour },
			[]string{"5s watching", "10s grace-over", "10s restart-begin", "11s restart-done"}, 1},
		"legacy": {between(101, 3*time.Second, 1), legacy, nil,
			[]string{"5s watching", "10s grace-over", "10s restart-begin", "11s restart-done"}, 1},
		"legacy, with another limit": {between(101, 3*time.Second, 1), legacy, func(c *Config, _ *fakeWorld) { c.Soft = units.KB(110) },
			[]string{"5s watching"}, 0},
		"a restart whose prog runs is waited for": {constant(201), slowProg, nil, []string{"5s watching", "20s restart-done"}, 1},
		"a restart whose prog is gone begins again, at any size": {between(201, 3*time.Second, 1), slowProg, func(_ *Config, w *fakeWorld) { w.running = nil },
			[]string{"5s watching", "5s under-soft", "5s restart-begin", "25s restart-done"}, 2},
		"a restart that ended meanwhile is counted": {constant(201), slowProg, func(_ *Config, w *fakeWorld) { w.target = w.start(101, constant(1)) },
			[]string{"5s restart-done", "5s watching"}, 1},
		"a pause": {constant(201), func(_ *Config, w *fakeWorld) { w.script = []fakeEvent{{at: start, commands: "p"}} }, nil,
			[]string{"5s watching", "5s paused"}, 0},
	} {
		w, cfg := newWorld(t, c.size), config(t, 100, 200)
		if c.before != nil {
			c.before(&cfg, w)
		}
		watchFor(w, cfg, 5*time.Second)
		if c.killed != nil {
			c.killed(&cfg, w)
		}
		if j, _ := watchFor(w, cfg, time.Hour); !slices.Equal(j.lines, c.want) || len(w.progs) != c.progs {
			t.Errorf("%s: %d progs and\n%q, want %d and\n%q", name, len(w.progs), j.lines, c.progs, c.want)
		}
	}
}

func TestABackOffIsResumed(t *testing.T) {
	w := newWorld(t, constant(150))
	cfg := ofService(t, w, 100, 0, constant(150))
	watchFor(w, cfg, 30*time.Second) // two restarts, and the third instance waits
	before := len(w.progs)
	w.target.dead = false
	j, _ := watchFor(w, cfg, 3*time.Second)
	if before != 2 || len(w.progs) != 2 {
		t.Errorf("%d progs, and then %d: %q", before, len(w.progs), j.lines)
	}
}

func TestASnapshotThatCannotBeBelievedIsReportedOnce(t *testing.T) {
	w := newWorld(t, constant(101))
	cfg := config(t, 100, 0)
	watchFor(w, cfg, 5*time.Second)
	text, err := os.ReadFile(w.state)
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	for name, text := range map[string]string{
		"nonsense":       "nonsense",
		"empty":          "",
		"cut off":        good[:len(good)/2],
		"negative":       strings.Replace(good, `"since": `, `"since": -`, 1),
		"another boot":   strings.Replace(good, `"boot": "boot"`, `"boot": "other"`, 1),
		"future":         strings.Replace(good, `"since": `, `"since": 99`, 1),
		"no identity":    strings.Replace(good, `"id": "100:`, `"id": "x`, 1),
		"other process":  strings.Replace(good, `"id": "100:`, `"id": "99:`, 1),
		"another format": strings.Replace(good, `"version": 1`, `"version": 2`, 1),
	} {
		if name != "empty" && text == good {
			t.Fatalf("%s: nothing was replaced", name)
		}
		w := newWorld(t, constant(101))
		if err := os.WriteFile(w.state, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		j, _ := watchFor(w, cfg, time.Second)
		if strings.Count(j.full.String(), "not resumed") != 1 || !strings.Contains(j.full.String(), "over-soft") {
			t.Errorf("%s: %s", name, j.full.String())
		}
	}
}
