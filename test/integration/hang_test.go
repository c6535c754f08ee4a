package integration

import (
	"gracekit/test/harness"
	"testing"
)

// A Sidekiq with a job that ignores everything is killed, with its whole group, at twice its timeout.
func TestHangingSidekiqIsKilled(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(map[string]string{"SIDEKIQ_TIMEOUT": "3"})
	old := k.working()
	children := s.Path("children")
	k.redis.Enqueue(1, "LeakJob", beyondLimit, 0)
	s.Eventually("it has leaked", func() bool { return k.count("done") == 1 })
	k.redis.Enqueue(1, "StubbornJob", children)
	s.Eventually("there are external processes", func() bool { return len(s.pidsIn(children)) > 0 })
	_, events := k.watched(with(quickWatch, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "1"))

	events.Event("restart-done", 1)
	events.Line("got TERM: waiting up to 6s", 1)
	if old.Alive() {
		s.Error("it is still there")
	}
	for _, pid := range s.pidsIn(children) {
		if p, alive := harness.FindProcess(pid); alive && p.PGID == old.PID {
			s.Errorf("left of its group: %v", p)
		}
	}
	next := k.Running(old)
	events.Line("msg=target-up .*id="+next.ID(), 1)
}
