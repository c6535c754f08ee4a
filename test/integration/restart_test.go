package integration

import (
	"gracekit/test/harness"
	"os"
	"slices"
	"testing"
)

// The limits of these tests: a Sidekiq that has just booted has 30 MB.
const (
	softKB      = "90000"
	beyondLimit = 120 // MB that a job leaks to be over it at once
)

var quickWatch = map[string]string{
	"SIDEKIQ_MEMORY_KILLER_MAX_RSS":        softKB,
	"SIDEKIQ_MEMORY_KILLER_GRACE_TIME":     "1",
	"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL": "1",
}

func with(conf map[string]string, name, value string) map[string]string {
	changed := map[string]string{name: value}
	for n, v := range conf {
		if n != name {
			changed[n] = v
		}
	}
	return changed
}

// The main job: a leaking Sidekiq is quieted, its running jobs end, it exits by TERM, runsv starts the next one,
// which takes jobs; over several restarts every enqueued job is done exactly once.
func TestLeakingSidekiqLosesNoJob(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(nil)
	first := k.working()
	_, events := k.watched(quickWatch)

	jids := k.ledger.leaks(k.redis, 0.25, func() bool { return events.Count("restart-done") >= 3 })
	if k.redis.Command("LLEN", "queue:default") != "0" {
		s.Error("jobs are left in Redis")
	}
	if n := len(k.pids()); n < 4 {
		s.Errorf("%d processes did the jobs, want at least 4", n)
	}
	if k.pids()[0] != first.PID {
		s.Errorf("the first job was done by %d, want %d", k.pids()[0], first.PID)
	}
	t.Logf("%d jobs in processes %v", len(jids), k.pids())

	// The events, in order, and of which process.
	cycle := []string{"over-soft", "grace-over", "restart-begin", "restart-done", "target-up"}
	seen := slices.DeleteFunc(events.Seen(), func(e harness.Event) bool { return !slices.Contains(cycle, e.Name) })
	if seen[0].Name == "target-up" {
		seen = seen[1:] // of the first process
	}
	pids := k.pids()
	for i, e := range seen {
		if e.Name != cycle[i%len(cycle)] {
			s.Fatalf("%d. event is %s, want %s\n%s", i+1, e.Name, cycle[i%len(cycle)], events)
		}
		want := pids[i/len(cycle)]
		if e.Name == "target-up" {
			want = pids[i/len(cycle)+1]
		}
		if pid, _ := harness.FindProcess(want); e.Fields["id"] == "" || e.PID() != want || pid.PID != 0 && e.Fields["id"] != pid.ID() {
			s.Errorf("%s: id is %q, want that of process %d", e.Name, e.Fields["id"], want)
		}
		if e.Name == "restart-begin" && e.Fields["reason"] != "soft" {
			s.Errorf("reason is %q, want soft: %s", e.Fields["reason"], e.Line)
		}
	}
}

// A job that outlives SHUTDOWN_WAIT and Sidekiq's timeout is pushed back to Redis, and done by the next process.
func TestLongJobIsDoneByTheNextProcess(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(map[string]string{"SIDEKIQ_TIMEOUT": "8"}) // as long again is left for Sidekiq to push the job back
	old := k.working()
	release := s.Path("release")
	long := k.redis.Enqueue(1, "WaitJob", release)[0]
	s.Eventually("the long job runs", func() bool { return len(k.of(long, "start")) == 1 })
	k.redis.Enqueue(1, "LeakJob", beyondLimit, 0)
	_, events := k.watched(with(quickWatch, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "1"))
	events.Event("restart-done", 1)
	s.Eventually("the job runs again", func() bool { return len(k.of(long, "start")) == 2 })
	if next := k.of(long, "start")[1].pid; next == old.PID {
		s.Error("the job was started again by the old process")
	}
	s.Write("release", "", 0o644)
	s.Eventually("the job is done", func() bool { return len(k.of(long, "done")) > 0 })
	if n := k.redis.Command("LLEN", "queue:default"); n != "0" {
		s.Errorf("%s jobs are left in Redis", n)
	}
}

// A Sidekiq that still boots has no handler for TSTP, which would stop it: it is not sent, and TERM ends it.
func TestBootingSidekiqIsNotStopped(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	boot := s.Path("boot")
	k := s.sidekiq(map[string]string{"BOOT_UNTIL": boot})
	old := k.Running()
	// Not sooner: the first moments of Ruby itself can swallow a TERM.
	s.Eventually("it boots", func() bool { _, err := os.Stat(boot + ".waiting"); return err == nil })
	c := s.Command("graceful-restart", old.ID())
	c.Env = append(c.Env, "SHUTDOWN_WAIT=300", "SIDEKIQ_TIMEOUT=20") // stopped, it would be there for longer than a command may take
	if r := s.RunCommand(c); r.Code != 0 {
		s.Errorf("graceful-restart: exit %d\n%s", r.Code, r.Stderr)
	}
	if old.Alive() {
		s.Error("it is still there")
	}
	s.Write("boot", "", 0o644)
	k.working(old)
}
