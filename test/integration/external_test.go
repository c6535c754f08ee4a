package integration

import (
	"testing"

	"gracekit/test/harness"
)

// What jobs have started has ended when the next Sidekiq runs: after one that died, and after one that hangs, which is
// killed at twice its timeout. runsv and the log process live on.
func TestExternalProcessesEndWithSidekiq(t *testing.T) {
	s := newSandbox(t)
	k := s.sidekiq(nil)
	first := k.working()
	logger, _ := harness.FindProcess(harness.PIDOf(harness.FirstLine(k.Dir + "/log/supervise/pid")))
	starts := func(leader harness.Process, file string) (started harness.Process) {
		k.enqueue(1, "StubbornJob", s.Path(file))
		s.Eventually("the job has started a process", func() (alive bool) {
			started, alive = harness.FindProcess(harness.PIDOf(s.Read(file)))
			return alive
		})
		if started.PGID != leader.PID {
			s.Fatalf("want a process of group %d: %v", leader.PID, started)
		}
		return started
	}
	left := starts(first, "first")
	k.Runsv.Control("o") // so that only finish can end it: the next run would as well
	first.Kill()
	s.Eventually("finish has ended it", func() bool { return !left.Alive() })
	k.Runsv.Control("u")
	hung := k.working(first)

	leak := k.enqueue(1, "LeakJob", beyondLimit, 0)[0]
	k.await("done "+leak, 1)
	left = starts(hung, "second")
	events := k.watched(map[string]string{"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT": "1"})
	events.Event("restart-done", 1)
	events.Line("got TERM: waiting up to 6s", 1)
	s.haveEnded(hung, left)
	next := k.working(hung)
	events.Line("msg=target-up .*id="+next.ID(), 1)
	for _, p := range []harness.Process{k.Runsv.Process, logger} {
		if !p.Alive() {
			s.Errorf("ended, though it was not to be signalled: %s", p.ID())
		}
	}
}
