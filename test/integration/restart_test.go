package integration

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
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

	jids := k.ledger.leaks(k.redis, 0.25, func() bool { return events.count("restart-done") >= 3 })
	if k.redis.command("LLEN", "queue:default") != "0" {
		s.Error("jobs are left in Redis")
	}
	if n := len(k.pids()); n < 4 {
		s.Errorf("%d processes did the jobs, want at least 4", n)
	}
	if k.pids()[0] != first.pid {
		s.Errorf("the first job was done by %d, want %d", k.pids()[0], first.pid)
	}
	t.Logf("%d jobs in processes %v", len(jids), k.pids())

	// What gracewatch said, in order, and of whom.
	cycle := []string{"over-soft", "grace-over", "restart-begin", "restart-done", "target-up"}
	seen := slices.DeleteFunc(events.seen(), func(e event) bool { return !slices.Contains(cycle, e.name) })
	if seen[0].name == "target-up" {
		seen = seen[1:] // of the first process
	}
	pids := k.pids()
	for i, e := range seen {
		if e.name != cycle[i%len(cycle)] {
			s.Fatalf("%d. event is %s, want %s\n%s", i+1, e.name, cycle[i%len(cycle)], events)
		}
		want := pids[i/len(cycle)]
		if e.name == "target-up" {
			want = pids[i/len(cycle)+1]
		}
		if pid, _ := look(want); e.fields["id"] == "" || e.pid() != want || pid.pid != 0 && e.fields["id"] != pid.id() {
			s.Errorf("%s: id is %q, want that of process %d", e.name, e.fields["id"], want)
		}
		if e.name == "restart-begin" && e.fields["reason"] != "soft" {
			s.Errorf("reason is %q, want soft: %s", e.fields["reason"], e.line)
		}
	}
}

// An idle instance over its limit has a successor soon after its grace time: it does not wait for SHUTDOWN_WAIT.
func TestIdleSidekiqIsReplacedSoon(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(nil)
	old := k.working()
	_, events := k.watched(with(quickWatch, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "300"))
	k.redis.enqueue(1, "LeakJob", beyondLimit, 0)
	over := events.event("grace-over", 1)
	k.running(old)
	took := time.Since(over.at)
	t.Logf("the successor was there %v after grace-over", took)
	// Sidekiq 6.4 with Ruby 3.1 needs up to 6.5 s: its BRPOP of 2 s and the 3 s for which Ruby keeps an ended thread (or the
	// next heartbeat, after at most 5 s), then 0.5 s to exit, the rest programs and runsv. All these tests run at once: what
	// counts is that it does not wait for the 300 s of SHUTDOWN_WAIT.
	if took > patience {
		s.Errorf("the successor came %v after grace-over", took)
	}
}

// A job that outlives SHUTDOWN_WAIT and Sidekiq's timeout is pushed back to Redis, and done by the next process.
func TestLongJobIsDoneByTheNextProcess(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(nil)
	old := k.working()
	release := s.path("release")
	long := k.redis.enqueue(1, "WaitJob", release)[0]
	s.waitFor("the long job runs", func() bool { return len(k.of(long, "start")) == 1 })
	k.redis.enqueue(1, "LeakJob", beyondLimit, 0)
	_, events := k.watched(with(quickWatch, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "1"))
	events.event("restart-done", 1)
	s.waitFor("the job runs again", func() bool { return len(k.of(long, "start")) == 2 })
	if next := k.of(long, "start")[1].pid; next == old.pid {
		s.Error("the job was started again by the old process")
	}
	s.write("release", "", 0o644)
	s.waitFor("the job is done", func() bool { return len(k.of(long, "done")) > 0 })
	if n := k.redis.command("LLEN", "queue:default"); n != "0" {
		s.Errorf("%s jobs are left in Redis", n)
	}
}

// A Sidekiq that still boots has no handler for TSTP, which would stop it: it is not sent, and TERM ends it.
func TestBootingSidekiqIsNotStopped(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	boot := s.path("boot")
	k := s.sidekiq(map[string]string{"BOOT_UNTIL": boot})
	old := k.running()
	// Not sooner: the first moments of Ruby itself can swallow a TERM.
	s.waitFor("it boots", func() bool { _, err := os.Stat(boot + ".waiting"); return err == nil })
	c := s.command("graceful-restart", old.id())
	c.Env = append(c.Env, "SHUTDOWN_WAIT=300", "SIDEKIQ_TIMEOUT=20") // stopped, it would be there for longer than a command may take
	if r := s.runCommand(c); r.code != 0 {
		s.Errorf("graceful-restart: exit %d\n%s", r.code, r.stderr)
	}
	if old.alive() {
		s.Error("it is still there")
	}
	s.write("boot", "", 0o644)
	k.working(old)
}

func (w *gracewatch) count(name string) (n int) {
	for _, e := range w.names() {
		if e == name {
			n++
		}
	}
	return n
}

// pid is that of the event's id.
func (e event) pid() int {
	for i, c := range e.fields["id"] {
		if c == ':' {
			pid, _ := strconv.Atoi(e.fields["id"][:i])
			return pid
		}
	}
	return 0
}
