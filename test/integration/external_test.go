package integration

import (
	"strings"
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

	starts := func(leader harness.Process, job string, n int) (started []harness.Process) {
		k.enqueue(1, job, s.Path(job))
		s.Eventually(job+" has started processes", func() bool {
			started = nil
			for pid := range strings.Lines(s.Read(job)) {
				if p, alive := harness.FindProcess(harness.PIDOf(pid)); alive {
					started = append(started, p)
				}
			}
			return len(started) == n
		})
		for _, p := range started {
			if p.PGID != leader.PID {
				s.Fatalf("want a process of group %d: %v", leader.PID, p)
			}
		}
		return started
	}
	left := starts(first, "OrphanJob", 2)
	first.Kill()
	second := k.working(first)
	s.haveEnded(left...)

	leak := k.enqueue(1, "LeakJob", beyondLimit, 0)[0]
	k.await("done "+leak, 1)
	left = starts(second, "StubbornJob", 1)
	events := k.watched(map[string]string{"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT": "1"})
	events.Event("restart-done", 1)
	events.Line("got TERM: waiting up to 6s", 1)
	s.haveEnded(append(left, second)...)
	third := k.working(second)
	events.Line("msg=target-up .*id="+third.ID(), 1)

	for _, p := range []harness.Process{k.Runsv.Process, logger} {
		if !p.Alive() {
			s.Errorf("ended, though it was not to be signalled: %s", p.ID())
		}
	}
}
