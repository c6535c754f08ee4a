package integration

import (
	"os"
	"strings"
	"testing"
)

// sv restart of the shipped service is graceful: running jobs end first, though they take longer than Sidekiq's timeout.
func TestSvRestartLosesNoJob(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(nil)
	first := k.working()
	jids := k.redis.Enqueue(1, "WaitJob", s.Path("go"))
	s.Eventually("the job is running", func() bool { return k.count("start") == 1 })
	restart := s.Start(s.Command("sv", "-w", "600", "restart", k.Dir))
	s.Eventually("it is quiet", func() bool { return strings.HasSuffix(first.Title(), "stopping") })
	s.Wants(0, "sv", "term", k.Dir) // a second one: the first is under way
	jids = append(jids, k.redis.Enqueue(2, "LeakJob", 1, 0)...)
	s.Write("go", "", 0o644)
	second := k.working(first)
	<-restart.Done
	if restart.Code != 0 {
		s.Errorf("sv restart: exit %d", restart.Code)
	}
	s.Eventually("all jobs are done", func() bool { return k.count("done") == len(jids) })
	k.exactlyOnce(jids)

	// down and exit are TERM at once: the job is pushed back by Sidekiq itself.
	k.redis.Enqueue(1, "WaitJob", s.Path("never"))
	s.Eventually("the job is running", func() bool { return k.count("start") == len(jids)+1 })
	s.Wants(0, "sv", "-w", "600", "down", k.Dir)
	if second.Alive() {
		s.Error("it runs after sv down")
	}
	if n := k.redis.Command("LLEN", "queue:default"); n != "1" {
		s.Errorf("%s jobs in the queue, want the one that was running", n)
	}
	if _, err := os.Stat(k.Dir + "/supervise/restart.lock"); err != nil {
		s.Error(err)
	}
}
