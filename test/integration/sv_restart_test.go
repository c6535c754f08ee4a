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
	jids := k.redis.enqueue(1, "WaitJob", s.path("go"))
	s.waitFor("the job is running", func() bool { return k.count("start") == 1 })
	restart := s.start(s.command("sv", "-w", "60", "restart", k.dir))
	s.waitFor("it is quiet", func() bool { return strings.HasSuffix(title(first), "stopping") })
	s.wants(0, "sv", "term", k.dir) // a second one: the first is under way
	jids = append(jids, k.redis.enqueue(2, "LeakJob", 1, 0)...)
	s.write("go", "", 0o644)
	second := k.working(first)
	<-restart.gone
	if restart.code != 0 {
		s.Errorf("sv restart: exit %d", restart.code)
	}
	s.waitFor("all jobs are done", func() bool { return k.count("done") == len(jids) })
	k.exactlyOnce(jids)

	// down and exit are TERM at once: the job is pushed back by Sidekiq itself.
	k.redis.enqueue(1, "WaitJob", s.path("never"))
	s.waitFor("the job is running", func() bool { return k.count("start") == len(jids)+1 })
	s.wants(0, "sv", "-w", "60", "down", k.dir)
	if second.alive() {
		s.Error("it runs after sv down")
	}
	if n := k.redis.command("LLEN", "queue:default"); n != "1" {
		s.Errorf("%s jobs in the queue, want the one that was running", n)
	}
	if _, err := os.Stat(k.dir + "/supervise/restart.lock"); err != nil {
		s.Error(err)
	}
}
