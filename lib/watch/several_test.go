package watch

import (
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
)

// family is a parent with children of these sizes, which starts another small child for each that has exited, after
// replaced; not at all if that is negative.
func family(t *testing.T, replaced time.Duration, kb ...int64) (*fakeWorld, Config) {
	w := newWorld(t, constant(1))
	for i, kb := range kb {
		w.children = append(w.children, w.start(101+i, constant(kb)))
	}
	if replaced >= 0 {
		w.prog.after = func() { w.script = append(w.script, event{at: w.now + replaced, do: addChild}) }
	}
	cfg := config(t, 100, 0)
	cfg.Scope, cfg.Retry = proc.ScopeChildren, time.Hour
	return w, cfg
}

func addChild(w *fakeWorld) {
	w.children = append(w.children, w.start(101+len(w.children), constant(1)))
}

func TestEachChildHasATimerOfItsOwnWhichTheNextWatcherResumes(t *testing.T) {
	w, cfg := family(t, 3*time.Second, 1, 101, 1)
	watchFor(w, cfg, 5*time.Second)
	const want = "5s target-up, 5s target-up, 5s watching, 10s grace-over, 10s restart-begin, 11s restart-done, 11s target-gone, 14s target-up"
	if j, err := watchFor(w, cfg, time.Minute); err != nil || strings.TrimPrefix(j.String(), "5s target-up, ") != want ||
		len(w.progs) != 1 || !strings.Contains(w.progs[0], "GRACE_TARGET=102:") {
		t.Errorf("%v %s\nwant %s\n%q", err, j, want, w.progs)
	}
}

func TestChildrenAreRestartedOneAtATime(t *testing.T) {
	for name, c := range map[string]struct {
		replaced time.Duration // after each exit; negative: never
		sizes    []int64
		config   func(*Config)
		prog     run // unless it is the usual one
		script   []event
		begun    string
	}{
		"each after the replacement of the last one":  {3 * time.Second, []int64{101, 1, 101, 101}, nil, run{}, nil, "10s 14s 18s"},
		"without a replacement, after the retry time": {-1, []int64{101, 101}, func(c *Config) { c.Retry = time.Minute }, run{}, nil, "10s 1m11s"},
		"a replacement before prog has exited counts": {-1, []int64{101, 101}, nil, run{takes: 8 * time.Second, spares: true},
			[]event{at(12, func(w *fakeWorld) { w.children[0].dead = true }), at(13, addChild)}, "10s 18s"},
		"on request, whatever the interval": {3 * time.Second, []int64{1, 1, 1}, onCommand, run{}, []event{command(5, "t")}, "5s 9s 13s"},
		"for their age, and a part of a tenth of that": {3 * time.Second, []int64{1, 1, 1}, func(c *Config) { c.MaxAge = time.Minute }, run{}, nil,
			"1m3.41s 1m7.41s 1m11.41s"},
	} {
		w, cfg := family(t, c.replaced, c.sizes...)
		if c.config != nil {
			c.config(&cfg)
		}
		w.script, w.prog.takes, w.prog.spares = c.script, c.prog.takes, c.prog.spares
		j, err := watchFor(w, cfg, 90*time.Second)
		if begun := strings.Join(j.timesOf("restart-begin"), " "); begun != c.begun || err != nil {
			t.Errorf("%s: begun at %s, want %s: %v %s", name, begun, c.begun, err, j)
		}
		if w.target.dead || len(c.sizes) == 4 && w.children[1].dead {
			t.Errorf("%s: the parent or a small child was restarted", name)
		}
	}
}

func TestATargetStandsInForSidekiqsThatAreNotThereYet(t *testing.T) {
	w, cfg := newWorld(t, constant(5)), config(t, 0, 200)
	w.script = []event{at(10, func(w *fakeWorld) { w.children = []*fakeProcess{w.start(101, constant(201))} })}
	cfg.Scope = proc.ScopeSidekiq
	j, _ := watchFor(w, cfg, 12*time.Second)
	const want = "10s target-up, 10s over-hard, 10s restart-begin, 10s INFO, 11s restart-done, 11s target-gone"
	if j.watched() != want || !strings.Contains(w.progs[0], "GRACE_TARGET=101:") {
		t.Errorf("%s, want %s: %q", j.watched(), want, w.progs)
	}
}

// That the target is not the worker itself is logged once, and only where something is far larger.
func TestAWrapperIsLoggedOnce(t *testing.T) {
	const other = "WARN 100:100000 has 5 KB, but 101:1, below it, has 50 KB and is not a Sidekiq: set --match or --scope " +
		"(MEMORY_KILLER_MATCH, MEMORY_KILLER_SCOPE)"
	sidekiq := func(w *fakeWorld) { w.children = []*fakeProcess{w.start(101, constant(50))} }
	grows := func(w *fakeWorld) { w.largest = 50 }
	for name, c := range map[string]struct {
		largest int64 // KB, of what is below the target and no Sidekiq
		later   func(*fakeWorld)
		want    string
	}{
		"a Sidekiq below it":                 {0, sidekiq, "INFO 100:100000 is a wrapper: watching 1 Sidekiqs below it"},
		"another worker, ten times as large": {50, nil, other},
		"another that grows until it is":     {49, grows, other},
		"nothing that is large":              {49, nil, ""},
	} {
		w, cfg := newWorld(t, constant(5)), config(t, 100, 0)
		w.largest, cfg.Scope = c.largest, proc.ScopeSidekiq
		w.script = []event{at(1800, c.later)}
		j, err := watchFor(w, cfg, time.Hour)
		var got []string
		for _, line := range strings.Split(j.full.String(), "\n") {
			if rest, ok := strings.CutPrefix(line, "msg="); ok {
				got = append(got, rest)
			}
		}
		if err != nil || strings.Join(got, "\n") != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
