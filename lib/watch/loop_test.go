package watch

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gracekit/lib/service"
	"gracekit/lib/units"
)

func dies(w *fakeWorld)    { w.target.dead = true }
func isQuiet(w *fakeWorld) { w.target.quiet = true }

// A soft limit of 100 KB with a grace time of 10 s, a hard one of 200 KB, a check each second; prog ends the process in a second.
func TestWhenAProcessIsRestarted(t *testing.T) {
	const soft = "0s over-soft, 10s grace-over, 10s restart-begin, "
	const hard = "0s over-soft, 0s over-hard, 0s restart-begin, "
	for name, c := range map[string]struct {
		size   sizes
		most   time.Duration // 0: an hour
		config func(*Config)
		prog   run
		script []event
		want   string
		err    error
	}{
		"over the soft limit for the grace time": {size: constant(101), want: soft + "11s restart-done"},
		"over the hard limit":                    {size: between(90, 5, 201), want: "5s over-soft, 5s over-hard, 5s restart-begin, 6s restart-done"},
		"the grace time expires between two checks": {size: constant(101), config: func(c *Config) { c.Interval = 7 * time.Second },
			want: soft + "11s restart-done"},
		"the time of day is set back within the grace time": {size: constant(101),
			script: []event{at(5, func(w *fakeWorld) { w.set = -48 * time.Hour })}, want: soft + "11s restart-done"},
		"it is too old": {size: constant(1), config: func(c *Config) { c.MaxAge = 100 * time.Millisecond },
			want: "100ms restart-begin, 1.1s restart-done"},
		"it exits by itself": {size: constant(1), script: []event{at(5, dies)}, want: "5s target-gone", err: ErrEnded},
		"the machine slept: the next interval counts from then": {size: between(1, 1008, 101), config: func(c *Config) { c.Interval = 10 * time.Second },
			script: []event{at(5, func(w *fakeWorld) { w.now += 1000 * time.Second })},
			want:   "16m55s over-soft, 17m5s grace-over, 17m5s restart-begin, 17m6s restart-done"},

		"prog exits 75: postponed, and tried again": {size: constant(101), most: 75 * time.Second, prog: run{code: 75, spares: true},
			want: soft + "11s restart-postponed, 1m11s restart-begin, 1m12s restart-postponed"},
		"prog exits 1: failed, and begun again at any size": {size: between(101, 20, 1), most: 72 * time.Second, prog: run{code: 1, spares: true},
			want: soft + "11s restart-failed, 20s under-soft, 1m11s restart-begin"},
		"prog exits 1, but the process has exited: done": {size: constant(201), prog: run{code: 1}, want: hard + "1s restart-done"},
		"prog exits 0, and the process is running after five seconds: failed": {size: constant(201), most: 10 * time.Second, prog: run{spares: true},
			want: hard + "6s restart-failed"},
		"prog exits 0, and the process exits within five seconds: done": {size: constant(201), prog: run{spares: true}, script: []event{at(4, dies)},
			want: hard + "4s restart-done"},
		"prog takes too long: TERM": {size: constant(201), most: 30 * time.Second, prog: run{takes: time.Hour},
			config: func(c *Config) { c.ProgTimeout = 20 * time.Second }, want: hard + "20s ERROR, 20s restart-failed, 21s grace-over"},
		"over the hard limit during a restart for the soft one": {size: growing(101, 20), prog: run{takes: 20 * time.Second},
			config: func(c *Config) { c.Grace = 0 }, want: "0s over-soft, 0s grace-over, 0s restart-begin, 5s over-hard, 20s restart-done"},

		"a reading that fails: logged once, and no restart": {size: constant(101), most: time.Minute,
			script: []event{at(5, func(w *fakeWorld) { w.target.err = errors.New("EIO") }),
				at(25, func(w *fakeWorld) { w.target.err, w.target.size = nil, constant(1) })},
			want: "0s over-soft, 5s read-failed, 25s under-soft"},
		"its cgroup is frozen: postponed": {size: constant(201), most: 62 * time.Second,
			script: []event{at(0, func(w *fakeWorld) { w.target.frozen = true }), at(30, func(w *fakeWorld) { w.target.frozen = false })},
			want:   "0s over-soft, 0s over-hard, 0s restart-postponed, 10s grace-over, 1m0s restart-begin, 1m1s restart-done"},
		"in place: done when it has shrunk, and all starts anew": {size: constant(101), most: 45 * time.Second, prog: run{spares: true},
			config: func(c *Config) { c.InPlace = true },
			script: []event{at(15, func(w *fakeWorld) { w.target.size = between(50, 30, 101) }), at(35, isQuiet)},
			want:   soft + "15s restart-done, 30s over-soft, 40s grace-over, 40s restart-postponed"},
		"in place: failed when it has not": {size: constant(101), most: 75 * time.Second, prog: run{spares: true},
			config: func(c *Config) { c.InPlace = true }, want: soft + "1m11s restart-failed"},
		"quieted by something else: not for the soft limit, until it has been idle for an hour": {size: constant(101), most: 2 * time.Hour,
			config: func(c *Config) { c.Retry = 30 * time.Minute },
			script: []event{at(1, func(w *fakeWorld) { w.target.quiet, w.target.idle = true, true })},
			want: "0s over-soft, 10s grace-over, 10s restart-postponed, 30m10s restart-postponed, 1h0m10s ERROR, 1h0m10s restart-begin, " +
				"1h0m11s restart-done"},
		"quieted by something else, and it has jobs": {size: constant(101), most: 71 * time.Second, script: []event{at(1, isQuiet)},
			want: "0s over-soft, 10s grace-over, 10s restart-postponed, 1m10s restart-postponed"},
		"quieted by something else, and over the hard limit": {size: between(1, 5, 201), script: []event{at(1, isQuiet)},
			want: "5s over-soft, 5s over-hard, 5s restart-begin, 6s restart-done"},
		"a share follows the memory there is, within five seconds": {size: constant(500),
			config: func(c *Config) { // every second check would be each 6 s
				c.Soft.Set("80%")
				c.Hard, c.Interval = units.Size{}, 3*time.Second
			},
			script: []event{at(7, func(w *fakeWorld) { w.target.available = 600 })},
			want:   "9s over-soft, 19s grace-over, 19s restart-begin, 20s restart-done"},

		"paused: nothing happens until it is resumed": {size: between(1, 10, 201), script: []event{command(5, "p"), command(30, "c"), command(60, "u")},
			want: "5s paused, 1m0s resumed, 1m0s over-soft, 1m0s over-hard, 1m0s restart-begin, 1m1s restart-done"},
		"requested during a pause: when it is resumed": {size: constant(1), script: []event{command(5, "pt"), command(60, "u")},
			want: "5s paused, 1m0s resumed, 1m0s restart-begin, 1m1s restart-done"},
		"requested after it was postponed: at once": {size: constant(101), most: 13 * time.Second, prog: run{code: 75, spares: true},
			script: []event{command(12, "t")}, want: soft + "11s restart-postponed, 12s restart-begin"},
		"requested a thousand times, and again during the restart: one": {size: constant(1), prog: run{takes: 10 * time.Second},
			script: []event{command(5, strings.Repeat("t", 1000)), command(10, "t")}, want: "5s restart-begin, 15s restart-done"},
		"many commands: in order, without those that are unknown": {size: constant(101), config: onCommand,
			script: []event{command(5, "cppp\nuu z\x00?\npupux")},
			want:   "5s paused, 5s resumed, 5s paused, 5s resumed, 5s paused, 5s resumed"},
		"on command: the grace time expires all the same": {size: constant(101), config: onCommand, script: []event{command(5, "c")},
			want: "5s over-soft, 15s grace-over, 15s restart-begin, 16s restart-done"},
		"no command for ten minutes, where nothing else checks": {size: constant(1), config: onCommand, want: "10m0s WARN"},

		"a job hook that is not heard: the clock's checks can be cancelled": {size: between(101, 5, 1), config: jobHook,
			want: "0s over-soft, 5s under-soft"},
		"a job hook that is heard alone counts for the soft limit, until it has been silent for ten minutes": {size: between(1, 20, 101),
			most: 10*time.Minute + 10*time.Second, config: jobHook, script: []event{command(5, "c")}, want: "10m5s over-soft"},
		"a job hook, over the hard limit": {size: between(1, 20, 201), config: jobHook, script: []event{command(15, "c")},
			want: "20s over-hard, 20s restart-begin, 21s restart-done"},

		"a dry run logs it, time and again": {size: constant(201), most: 61 * time.Second, config: func(c *Config) { c.DryRun = true },
			want: hard + "10s grace-over, 1m0s restart-begin"},
		"without a prog it is the caller's turn": {size: constant(201), config: func(c *Config) { c.Prog = nil }, want: "0s over-soft, 0s over-hard"},
	} {
		w, cfg := newWorld(t, c.size), config(t, 100, 200)
		w.target.available = 1000
		if c.config != nil {
			c.config(&cfg)
		}
		if c.most == 0 {
			c.most = time.Hour
		}
		w.prog, w.script = c.prog, c.script
		j, err := watchFor(w, cfg, c.most)
		if j.watched() != c.want || err != c.err {
			t.Errorf("%s: %s, %v\nwant %s, %v\n%s", name, j.watched(), err, c.want, c.err, j.full.String())
		}
	}
}

func onCommand(c *Config) { c.Interval, c.Control = 0, "fifo" }
func jobHook(c *Config)   { c.Legacy, c.Control = true, "fifo" }

// The state of a check that is not the only one is that of the one before.
func TestHowOneCheckEnds(t *testing.T) {
	prog := []string{"prog"}
	for name, c := range map[string]struct {
		prog []string
		size sizes
		run  run
		want []error // of each check, ten seconds after the last
	}{
		"nothing to do":                {prog, constant(1), run{}, []error{nil}},
		"the restart is done":          {prog, constant(201), run{}, []error{nil, ErrEnded}},
		"postponed":                    {prog, constant(201), run{code: 75, spares: true}, []error{ErrPostponed, nil}},
		"failed":                       {prog, constant(201), run{code: 1, spares: true}, []error{ErrFailed, nil}},
		"the process is running":       {prog, constant(201), run{spares: true}, []error{ErrFailed}},
		"a test, under the limits":     {nil, constant(1), run{}, []error{ErrNotDue}},
		"a test, over soft":            {nil, constant(101), run{}, []error{ErrNotDue, nil, nil}},
		"a test, over hard":            {nil, constant(201), run{}, []error{nil, nil}},
		"a test, back under the limit": {nil, between(201, 15, 1), run{}, []error{nil, nil, ErrNotDue}},
	} {
		w, cfg := newWorld(t, c.size), config(t, 100, 200)
		cfg.Once, cfg.Prog, w.prog = true, c.prog, c.run
		for i, want := range c.want {
			if j, err := watchFor(w, cfg, time.Hour); err != want {
				t.Errorf("%s: check %d: %v, want %v: %s", name, i, err, want, j)
			}
			w.now += 10 * time.Second
		}
	}
}

// Over hard at 200 KB; the next process is small.
func TestAServiceIsFollowed(t *testing.T) {
	isDown := at(5, func(w *fakeWorld) { w.wanted = service.WantedState{} })
	for name, c := range map[string]struct {
		size, next sizes
		most       time.Duration
		config     func(*Config)
		prog       run
		script     []event
		refusal    error // of the target
		want       string
		logged     string // what is in the log, or in the environment of prog
	}{
		"its next process is watched": {size: constant(201), next: constant(50),
			want: "0s over-hard, 0s restart-begin, 1s restart-done, 1s target-gone, 1s target-up", logged: "/app GRACE_REASON=hard"},
		"wanted down": {size: between(1, 10, 201), next: constant(1), most: 71 * time.Second, script: []event{isDown},
			want: "10s over-hard, 10s restart-postponed, 1m10s restart-postponed", logged: `why="the service is wanted down"`},
		"paused": {size: between(1, 10, 201), next: constant(1), most: 20 * time.Second,
			script: []event{at(5, func(w *fakeWorld) { w.wanted.Paused = true })},
			want:   "10s over-hard, 10s restart-postponed", logged: `why="the service is paused"`},
		"wanted down after a restart that failed": {size: constant(201), next: constant(1), most: 3 * time.Minute, prog: run{code: 1, spares: true},
			script: []event{isDown, at(70, func(w *fakeWorld) { w.wanted.Up, w.prog = true, run{} })},
			want: "0s over-hard, 0s restart-begin, 1s restart-failed, 1m1s restart-postponed, 2m1s restart-begin, 2m2s restart-done, " +
				"2m2s target-gone, 2m2s target-up"},
		"the grace timer of a process that exits is cancelled": {size: constant(101), next: between(1, 2, 101), most: 18 * time.Second,
			config: func(c *Config) { c.Soft = limitOf(100) }, script: []event{at(5, dies)},
			want: "0s over-soft, 5s target-gone, 5s target-up, 7s over-soft, 17s grace-over, 17s restart-begin", logged: `stopped="the grace timer"`},
		"it exits during its restart: one": {size: constant(201), next: constant(1), prog: run{takes: 20 * time.Second, spares: true},
			script: []event{at(5, dies)}, want: "0s over-hard, 0s restart-begin, 20s restart-done, 20s target-gone, 20s target-up"},
		"prog exits 75": {size: constant(201), next: constant(1), prog: run{code: 75, spares: true},
			want: "0s over-hard, 0s restart-begin, 1s restart-postponed", logged: `why="the program exited 75: not now"`},
		"paused while its supervisor is waited for": {size: constant(201), next: constant(1),
			config: func(c *Config) { c.Control = "fifo" }, script: []event{command(2, "p"),
				at(5, func(w *fakeWorld) { w.refusal = nil })}, refusal: service.ErrUnsupervised, want: "5s paused"},
		"a request right after a start is for the new process": {size: constant(1), next: constant(1), most: 8 * time.Second, config: onCommand,
			script: []event{at(5, dies), command(5, "t")}, logged: "GRACE_TARGET=101:",
			want: "5s target-gone, 5s target-up, 5s restart-begin, 6s restart-done, 6s target-gone, 6s target-up"},
	} {
		w, cfg := newWorld(t, c.size), config(t, 0, 200)
		w.ofService(t, &cfg, c.next)
		if c.config != nil {
			c.config(&cfg)
		}
		if c.most == 0 {
			c.most = time.Minute
		}
		w.prog, w.script, w.refusal = c.prog, c.script, c.refusal
		j, err := watchFor(w, cfg, c.most)
		if j.watched() != c.want || err != nil || !strings.Contains(j.full.String()+strings.Join(w.progs, "\n"), c.logged) {
			t.Errorf("%s: %s, %v\nwant %s\n%s%q", name, j.watched(), err, c.want, j.full.String(), w.progs)
		}
	}
}

// Services whose processes, one like the other, are Sidekiqs that show their title after two seconds, or something else.
func TestWhichLimitsAreTooLow(t *testing.T) {
	for name, c := range map[string]struct {
		size           sizes
		sidekiq        bool
		soft, hard     int64
		grace, watched time.Duration
		least, most    int // restarts
		logged         []string
	}{
		"soft, below the footprint: up to an hour apart": {constant(150), true, 100, 0, 10 * time.Second, 12 * time.Hour, 12, 25,
			[]string{"level=ERROR msg=limit-too-low", "fits_kb=225", "boot_kb=150", "limit=soft", "it had 150 KB right after its boot"}},
		"likewise, though the grace time is short": {constant(150), true, 100, 0, 0, time.Hour, 4, 12, []string{"msg=limit-too-low"}},
		"hard, a leaker": {growing(50, 20), true, 100, 200, time.Hour, 10 * time.Minute, 50, 100, nil},
		"hard, a leaker that has no title: it is not delayed": {growing(10, 40), false, 60, 120, time.Second, 10 * time.Minute, 100, 300, nil},
	} {
		w, cfg := newWorld(t, c.size), config(t, c.soft, c.hard)
		if c.sidekiq {
			w.titledAt, w.target.titledAt = 2*time.Second, 2*time.Second
		}
		w.ofService(t, &cfg, c.size)
		cfg.Grace = c.grace
		j, _ := watchFor(w, cfg, c.watched)
		if n := len(j.timesOf("restart-done")); n < c.least || n > c.most {
			t.Errorf("%s: %d restarts at %v", name, n, j.timesOf("restart-done"))
		}
		for _, text := range c.logged {
			if !strings.Contains(j.full.String(), text) {
				t.Errorf("%s: %s is not in the log", name, text)
			}
		}
		if c.sidekiq && c.logged == nil && strings.Contains(j.full.String(), "limit-too-low") {
			t.Errorf("%s: it is logged that its limit is too low", name)
		}
	}
}

// A watcher that is killed after five seconds leaves its state to the next one.
func TestAKilledWatcherIsResumed(t *testing.T) {
	legacy := func(c *Config) { c.Legacy = true }
	slow := run{takes: 20 * time.Second}
	const timer = "5s watching, 10s grace-over, 10s restart-begin, 11s restart-done"
	for name, c := range map[string]struct {
		size   sizes
		config func(*Config) // may be nil
		prog   run
		script []event
		killed func(*Config, *fakeWorld) // what happens then; may be nil
		want   string                    // of the next one
		progs  int                       // of both
	}{
		"the grace timer, whatever the time of day": {constant(101), nil, run{}, nil, func(_ *Config, w *fakeWorld) { w.set = 48 * time.Hour }, timer, 1},
		"legacy":                          {between(101, 3, 1), legacy, run{}, nil, nil, timer, 1},
		"legacy, with another limit":      {between(101, 3, 1), legacy, run{}, nil, func(c *Config, _ *fakeWorld) { c.Soft = limitOf(110) }, "5s watching", 0},
		"legacy, with another hard limit": {between(101, 3, 1), legacy, run{}, nil, func(c *Config, _ *fakeWorld) { c.Hard = limitOf(210) }, timer, 1},
		"an age that counts from a restart in place": {constant(1), func(c *Config) { c.InPlace, c.MaxAge = true, 3*time.Second }, run{spares: true},
			[]event{at(9, dies)}, nil, "5s watching, 7.16s restart-begin, 8.16s restart-done, 9s target-gone", 2},
		"a restart of a process that is the target no more, and runs": {constant(201), nil, slow, nil, func(_ *Config, w *fakeWorld) {
			w.children, w.target = []*fakeProcess{w.target}, w.start(101, constant(1))
		}, "5s WARN, 5s watching", 1},
		"postponed, and the retry time is shorter now": {constant(201), nil, run{code: 75, spares: true}, nil, func(c *Config, w *fakeWorld) {
			c.Retry, w.prog = 3*time.Second, run{}
		}, "5s watching, 8s restart-begin, 9s restart-done", 2},
		"a restart whose prog runs is waited for": {constant(201), nil, slow, nil, nil, "5s watching, 20s restart-done", 1},
		"a restart whose prog runs for too long": {constant(201), func(c *Config) { c.ProgTimeout = 20 * time.Second }, run{takes: time.Hour}, nil, nil,
			"5s watching, 25s ERROR, 25s restart-failed, 26s grace-over", 1},
		"a restart whose prog is gone begins again, at any size": {between(201, 3, 1), nil, slow, nil, func(_ *Config, w *fakeWorld) { w.running = nil },
			"5s watching, 5s under-soft, 5s restart-begin, 25s restart-done", 2},
		"a restart that ended meanwhile is counted": {constant(201), nil, slow, nil, func(_ *Config, w *fakeWorld) { w.target = w.start(101, constant(1)) },
			"5s restart-done, 5s watching", 1},
		"a pause": {between(1, 1, 201), nil, run{}, []event{command(0, "p")}, nil, "5s watching, 5s paused", 0},
	} {
		w, cfg := newWorld(t, c.size), config(t, 100, 200)
		if c.config != nil {
			c.config(&cfg)
		}
		w.prog, w.script = c.prog, c.script
		watchFor(w, cfg, 5*time.Second)
		if c.killed != nil {
			c.killed(&cfg, w)
		}
		if j, _ := watchFor(w, cfg, 30*time.Second); j.String() != c.want || len(w.progs) != c.progs {
			t.Errorf("%s: %d progs and\n%s, want %d and\n%s", name, len(w.progs), j, c.progs, c.want)
		}
	}
}

func TestABackOffIsResumed(t *testing.T) {
	w, cfg := newWorld(t, constant(150)), config(t, 100, 0)
	w.ofService(t, &cfg, constant(150))
	watchFor(w, cfg, 30*time.Second) // two restarts, and the third instance waits
	before := len(w.progs)
	if j, _ := watchFor(w, cfg, 3*time.Second); before != 2 || len(w.progs) != 2 {
		t.Errorf("%d progs, and then %d: %s", before, len(w.progs), j)
	}
}

// The third instance over the hard limit waits, until there is less memory for it.
func TestABackOffEndsWhenTheMemoryShrinks(t *testing.T) {
	w, cfg := newWorld(t, constant(150)), config(t, 0, 100)
	w.titledAt, w.target.titledAt = 2*time.Second, 2*time.Second
	w.ofService(t, &cfg, constant(150))
	w.script = []event{at(30, func(w *fakeWorld) { w.target.available = 150 })}
	watchFor(w, cfg, 29*time.Second)
	before := len(w.progs)
	if j, _ := watchFor(w, cfg, 9*time.Second); before == 0 || len(w.progs) != before+1 {
		t.Errorf("%d progs, and then %d: %s", before, len(w.progs), j)
	}
}

func TestASnapshotThatCannotBeBelievedIsReportedOnce(t *testing.T) {
	w, cfg := newWorld(t, constant(101)), config(t, 100, 0)
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
		if text == good {
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
