package integration

import (
	"gracekit/test/harness"
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

// The main job: a leaking Sidekiq is quieted, its running jobs end, it exits by TERM, runsv starts the next one,
// which takes jobs; over several restarts every enqueued job is done exactly once.
func TestLeakingSidekiqLosesNoJob(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k := s.sidekiq(nil)
	first := k.working()
	events := k.watched(nil)

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
