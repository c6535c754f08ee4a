package integration

import (
	"fmt"
	"testing"
)

// The main job: a leaking Sidekiq is quieted, its running jobs end, it exits by TERM, runsv starts the next one,
// which takes jobs; over several restarts every enqueued job is done exactly once.
func TestLeakingSidekiqLosesNoJob(t *testing.T) {
	s := newSandbox(t)
	k := s.sidekiq(nil)
	first := k.working()
	events := k.watched(nil)
	k.leak(0.25, func() bool { return events.Count("restart-done") >= 3 })
	k.wantQueued(0)
	pids := k.pids()
	if len(pids) < 4 || pids[0] != first.PID {
		s.Fatalf("processes %v did the jobs, want at least 4, from %d on", pids, first.PID)
	}
	for _, pid := range pids[:3] {
		events.WantLines(fmt.Sprintf("msg=restart-begin .*id=%d:.*reason=soft", pid), 1)
	}
	events.WantLines("msg=(restart-failed|restart-postponed)", 0)
}

// sv restart of the shipped service is graceful: running jobs end first, though they take longer than Sidekiq's timeout.
func TestSvRestartLosesNoJob(t *testing.T) {
	s := newSandbox(t)
	k := s.sidekiq(nil)
	first := k.working()
	k.enqueue(1, "WaitJob", s.Path("go"))
	k.await("start", 1)
	restart := s.Start(s.Command("sv", "-w", "600", "restart", k.Dir))
	s.hasTitle(first, "[1 of 2 busy] stopping")
	s.Wants(0, "sv", "term", k.Dir) // a second one: the first is under way
	k.enqueue(2, "LeakJob", 1, 0)
	s.Write("go", "", 0o644)
	second := k.working(first)
	s.Exits(restart, 0)
	k.allDone()

	// down and exit are TERM at once: the job is pushed back by Sidekiq itself.
	k.enqueue(1, "WaitJob", s.Path("never"))
	k.await("start", 4)
	s.Wants(0, "sv", "-w", "600", "down", k.Dir)
	s.haveEnded(second)
	k.wantQueued(1)
	if !s.Exists("sidekiq/supervise/restart.lock") {
		s.Error("restarts of one service do not exclude each other: there is no restart.lock")
	}
}
