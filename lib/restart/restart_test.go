package restart

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/units"
)

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// restart runs a restart that must end well.
func (w *world) restart(c Config) {
	w.Helper()
	if left, err := run(context.Background(), w, c); err != nil || len(left) > 0 {
		w.Errorf("left %v, %v", left, err)
	}
}

// A restartCase is what one worker gets, and what is logged of it.
type restartCase struct {
	name, sent, logged string
	change             func(*fake)
}

func (c restartCase) run(t *testing.T, worker func(w *world) *fake) {
	t.Run(c.name, func(t *testing.T) {
		w := newWorld(t)
		w.target = worker(w)
		if c.change != nil {
			c.change(w.target)
		}
		w.restart(w.config())
		w.wantSent(c.sent)
		w.wantLogged(c.logged)
	})
}

func TestASidekiqWithoutJobs(t *testing.T) {
	for _, c := range []restartCase{
		{"is not waited for", "0s TSTP 1, 0s TERM 1, 500ms clean-up", "1:1 is idle", nil},
		{"is waited for until then", "0s TSTP 1, 12.5s TERM 1, 13s clean-up", "1:1 is idle", func(f *fake) { f.idle = seconds(12.3) }},
		{"is continued if it is stopped", "0s TSTP 1, 0s CONT 1, 0s TERM 1, 500ms clean-up", "1:1 is idle", func(f *fake) { f.stopped = true }},
		{"with inf is waited for forever", "0s TSTP 1, 100h0m0s TERM 1, 200h0m0s clean-up", "waiting without limit", func(f *fake) {
			f.idle, f.values.Wait, f.values.Timeout = 100*time.Hour, units.Never, units.Never
			f.on[unix.SIGTERM] = f.exits(100 * time.Hour)
		}},
	} {
		c.run(t, func(w *world) *fake { return w.sidekiq(1, 0) })
	}
}

func TestASidekiqWhoseJobsDoNotEnd(t *testing.T) {
	for _, c := range []restartCase{
		{"has twice its timeout after the stop signal", "0s TSTP 1, 30s TERM 1, 2m29s clean-up", "warning: 1:1 still has jobs", func(f *fake) {
			f.values.Timeout = units.Duration(time.Minute)
			f.on[unix.SIGTERM] = f.exits(seconds(119)) // as -t 60 may with slow jobs
		}},
		{"is dumped and killed", "0s TSTP 1, 30s TERM 1, 1m20s TTIN 1, 1m20.5s KILL 1, 1m20.5s clean-up",
			"error: 1:1 did not exit within 50s of TERM: sending KILL", func(f *fake) { f.on[unix.SIGTERM] = nil }},
		{"without a wait gets no quiet signal", "0s TERM 1, 500ms clean-up", "because the wait is 0", func(f *fake) { f.values.Wait = 0 }},
		// Sidekiq 6.4.1 fails, and loses its jobs, when it finds two signals at once.
		{"gets the stop signal when it has handled the quiet one", "0s TSTP 1, 1.5s TERM 1, 2s clean-up", "still has jobs",
			func(f *fake) { f.values.Wait, f.quietFrom = units.Duration(seconds(0.1)), seconds(1.5) }},
		{"and does not show that it is quiet, after 3 s", "0s TSTP 1, 3s TERM 1, 3.5s clean-up", "still has jobs",
			func(f *fake) { f.values.Wait, f.quietFrom = units.Duration(seconds(0.1)), never }},
		{"and does not show them", "0s TSTP 1, 30s TERM 1, 30.5s clean-up", "warning: cannot tell whether 1:1 still has jobs: its title is cut off",
			func(f *fake) { f.idleError = errors.New("its title is cut off") }},
		{"exits during the wait", "0s TSTP 1, 3s clean-up", "1:1 has exited", func(f *fake) { f.exit = seconds(3) }},
	} {
		c.run(t, func(w *world) *fake { return w.sidekiq(1, never) })
	}
}

func TestATargetThatIsNotASidekiq(t *testing.T) {
	quits := func(f *fake) {
		f.handles, f.values.Quiet, f.values.QuietIsSet = []unix.Signal{unix.SIGQUIT}, unix.SIGQUIT, true
	}
	for _, c := range []restartCase{
		{"without a handler for TSTP", "0s TERM 1, 0s clean-up", "is not a Sidekiq: not waiting for jobs", nil},
		{"with one", "0s TSTP 1, 0s TERM 1, 0s clean-up", "is not a Sidekiq: not waiting for jobs",
			func(f *fake) { f.handles = []unix.Signal{unix.SIGTSTP} }},
		{"whose jobs Redis knows", "0s TSTP 1, 12s TERM 1, 12s clean-up", // as under JRuby
			"has no heartbeat thread: waiting up to 30s for what sidekiq-fleet says of its jobs",
			func(f *fake) { f.handles, f.redis, f.idle = sidekiqHandles, true, seconds(12) }},
		{"that Redis does not know", "0s TSTP 1, 0s TERM 1, 0s clean-up", "cannot tell whether 1:1 still has jobs: exit status 111",
			func(f *fake) { f.handles, f.redis, f.idleError = sidekiqHandles, true, errors.New("exit status 111") }},
		{"but is booting", "0s TERM 1, 0s clean-up", "info: 1:1 is booting", func(f *fake) { f.booting = true }},
		{"without a handler for TTIN is killed at once", "0s TERM 1, 50s KILL 1, 50s clean-up", "sending KILL",
			func(f *fake) { f.on[unix.SIGTERM] = nil }},
		{"exits by the quiet signal that was set", "0s QUIT 1, 5s clean-up", "waiting up to 30s for it to exit",
			func(f *fake) { quits(f); f.on[unix.SIGQUIT] = f.exits(seconds(5)) }},
		{"does not exit by it", "0s QUIT 1, 30s TERM 1, 30s clean-up", "has not exited in time", quits},
		{"gets no quiet signal", "0s TERM 1, 0s clean-up", "not waiting for jobs",
			func(f *fake) { f.handles, f.values.Quiet, f.values.QuietIsSet = sidekiqHandles, 0, true }},
		{"ends by another signal than TERM", "0s QUIT 1, 40s clean-up", "1:1 got QUIT",
			func(f *fake) { f.values.Stop, f.on[unix.SIGQUIT] = unix.SIGQUIT, f.exits(seconds(40)) }},
	} {
		c.run(t, func(w *world) *fake { return w.process(1) })
	}
}

func TestTheProcessInFrontEndsAfterItsWorkers(t *testing.T) {
	w := newWorld(t)
	w.target = w.process(1) // a shell
	w.sidekiq(2, seconds(1)).values.Timeout = units.Duration(seconds(3))
	w.sidekiq(3, never).on[unix.SIGTERM] = func() {} // hangs, with the default of 25 s
	w.restart(w.config())
	w.wantSent("0s TSTP 2, 0s TSTP 3, 30s TERM 2, 30s TERM 3, 1m20s TTIN 3, 1m20.5s KILL 3, 1m20.5s TERM 1, 1m20.5s clean-up")
}

// As sidekiq-cluster does: it gives its children TERM when one of them ends.
func TestAParentThatEndsAllWhenOneEndsCutsNoJob(t *testing.T) {
	w := newWorld(t)
	w.target = w.process(1)
	first, second := w.sidekiq(2, seconds(1)), w.sidekiq(3, seconds(20))
	stop := first.on[unix.SIGTERM]
	first.on[unix.SIGTERM] = func() {
		if second.idle > w.now {
			t.Error("one was stopped while another had jobs")
		}
		stop()
	}
	w.restart(w.config())
	w.wantSent("0s TSTP 2, 0s TSTP 3, 20s TERM 2, 20s TERM 3, 20.5s TERM 1, 20.5s clean-up")
}

// As sidekiqswarm does: a child that ends is replaced until the parent gets TERM.
func TestAWorkerThatAParentPutsInPlaceIsStoppedToo(t *testing.T) {
	w := newWorld(t)
	w.target = w.process(1)
	w.sidekiq(2, 0)
	w.sidekiq(3, never).from = seconds(0.5)
	w.target.on[unix.SIGTERM] = func() {}
	w.restart(w.config())
	w.wantSent("0s TSTP 2, 0s TERM 2, 500ms TERM 1, 5.5s TERM 3, 6s TERM 1, 11s clean-up")
}

// The size of a worker during the wait, which would have no end without it.
func TestTheLimitEndsTheWait(t *testing.T) {
	const mb = 1024
	flat := func(kb int64) func(time.Duration) int64 { return func(time.Duration) int64 { return kb } }
	leak := func(kb int64) func(time.Duration) int64 {
		return func(now time.Duration) int64 { return kb + int64(now.Seconds()*10*mb) } // 10 MB/s
	}
	for name, c := range map[string]struct {
		limit Limit
		kb    func(time.Duration) int64
		idle  time.Duration
		sent  string
	}{
		"soft, passes the hard limit":        {Limit{KB: 300 * mb}, leak(200 * mb), never, "0s TSTP 1, 10s TERM 1, 10.5s clean-up"},
		"soft, stays under it":               {Limit{KB: 300 * mb}, flat(200 * mb), seconds(1000), "0s TSTP 1, 16m40s TERM 1, 16m40.5s clean-up"},
		"soft, there is no hard limit":       {Limit{}, leak(200 * mb), seconds(1000), "0s TSTP 1, 16m40s TERM 1, 16m40.5s clean-up"},
		"hard, keeps its size":               {Limit{KB: 300 * mb, Hard: true}, flat(310 * mb), never, "0s TSTP 1, 30s TERM 1, 30.5s clean-up"},
		"hard, grows by a tenth":             {Limit{KB: 300 * mb, Hard: true}, leak(310 * mb), never, "0s TSTP 1, 3.5s TERM 1, 4s clean-up"},
		"hard, another worker that is small": {Limit{KB: 300 * mb, Hard: true}, leak(3 * mb), never, "0s TSTP 1, 30s TERM 1, 30.5s clean-up"},
		"hard, its jobs end":                 {Limit{KB: 300 * mb, Hard: true}, flat(310 * mb), seconds(2), "0s TSTP 1, 2s TERM 1, 2.5s clean-up"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.target = w.sidekiq(1, c.idle)
			w.target.values.Wait, w.target.kb = units.Never, c.kb
			config := w.config()
			config.Limit, config.Size = c.limit, func(*proc.Process) (int64, error) { panic("the fakes have their own") }
			w.restart(config)
			w.wantSent(c.sent)
		})
	}
}

func TestAnInterruptEndsTheWait(t *testing.T) {
	w := newWorld(t)
	w.target = w.sidekiq(1, never)
	ctx, cancel := context.WithCancel(context.Background())
	w.target.on[unix.SIGTSTP] = cancel
	if _, err := run(ctx, w, w.config()); err != nil {
		t.Error(err)
	}
	w.wantSent("0s TSTP 1, 0s TERM 1, 500ms clean-up")

	w = newWorld(t) // before the first signal it ends the restart
	w.target = w.sidekiq(1, never)
	if _, err := run(ctx, w, w.config()); err != ErrInterrupted {
		t.Error(err)
	}
	w.wantSent("")
}

// heldUntil is a lock that somebody else has until then.
type heldUntil struct {
	w     *world
	until time.Duration
}

func (l heldUntil) TryLock() (bool, int, error) { return l.w.now >= l.until, 4711, nil }

func TestASecondRestart(t *testing.T) {
	size := func(*proc.Process) (int64, error) { return 0, nil } // the fakes have their own
	for _, c := range []struct {
		name       string
		idle, exit time.Duration // by the first one
		held       time.Duration
		limit      Limit
		sent       string
	}{
		{"waits for the first", never, seconds(300), seconds(300), Limit{}, "5m0s clean-up"},
		{"takes over from one that died", seconds(20), never, seconds(10), Limit{}, "10s TSTP 1, 20s TERM 1, 20.5s clean-up"},
		{"for the hard limit does not wait", never, never, never, Limit{KB: 150_000}, "5.5s TSTP 1, 5.5s TERM 1, 6s clean-up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.target = w.sidekiq(1, c.idle)
			w.target.exit = c.exit
			w.target.kb = func(now time.Duration) int64 { return 100_000 + int64(now.Seconds()*10_000) }
			config := w.config()
			config.Lock, config.Limit, config.Size = heldUntil{w, c.held}, c.limit, size
			w.restart(config)
			w.wantSent(c.sent)
			w.wantLogged("4711")
		})
	}
}

func TestWhatMayNotBeSignalledIsRefusedBeforeAnythingIs(t *testing.T) {
	w := newWorld(t)
	w.target = w.process(1)
	w.sidekiq(2, 0)
	w.sidekiq(3, 0).denied = unix.EPERM
	if _, err := run(context.Background(), w, w.config()); !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
	w.wantSent("")

	w = newWorld(t)
	w.target = w.sidekiq(1, 0)
	w.refusal = errors.New("it is the caller's own")
	if _, err := run(context.Background(), w, w.config()); err != w.refusal {
		t.Error(err)
	}
	w.wantSent("")
}

func TestATargetThatHasEndedAlready(t *testing.T) {
	w := newWorld(t)
	w.target = w.process(1)
	w.listError = proc.ErrGone
	w.restart(w.config())
	w.wantSent("")
}

func TestWhatSurvivesIsReturned(t *testing.T) {
	w := newWorld(t)
	w.target = w.sidekiq(1, 0)
	w.target.on = map[unix.Signal]func(){} // in the kernel, for an hour
	w.survivors = []proc.ID{w.target.ID()}
	left, err := run(context.Background(), w, w.config())
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	w.wantSent("0s TSTP 1, 0s TERM 1, 50s TTIN 1, 50.5s KILL 1, 55.5s clean-up")
	w.wantLogged("error: 1:1 has not exited 5s after KILL")
}

func TestThePlanSignalsNobody(t *testing.T) {
	w := newWorld(t)
	w.target = w.process(1)
	w.sidekiq(2, 0)
	lines, err := plan(w, w.config())
	want := []string{
		"TSTP to 2:1, then wait up to 30s for its jobs",
		"TERM to 2:1, KILL after 50s",
		"TERM to 1:1 when they have exited",
		"TERM to all that is left of 1:1, KILL after 5s",
	}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("%q, %v, want %q", lines, err, want)
	}
	w.wantSent("")
}
