package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gracekit/test/harness"
)

// takesJobs: it is neither quiet nor has it exited.
func takesJobs(p harness.Process) bool { return p.Alive() && !strings.HasSuffix(p.Title(), "stopping") }

// Both instances are over the limit at the same time: with SIDEKIQ_MEMORY_KILLER_MIN_PEERS they are restarted one after the
// other, one of them takes jobs at every moment, no job is lost and none is done twice. A restart that was postponed is tried
// again after a minute, or on request.
func TestMemoryKillerLeavesTheLastOne(t *testing.T) {
	s := newSandbox(t)
	j := s.jobs()
	two := [2]*sidekiq{j.service("a", nil), j.service("b", nil)}
	limit, err := strconv.Atoi(softKB)
	s.Check(err)
	old := []harness.Process{two[0].working(), two[1].working()}
	for slices.ContainsFunc(old, func(p harness.Process) bool { return s.KB(p) < limit*12/10 }) {
		j.enqueue(1, "LeakJob", beyondLimit, 0.3)
		j.await("done", len(j.jids))
	}
	var watch [2]*harness.Log
	for i, k := range two {
		watch[i] = s.Watch(s.Command("env", "REDIS_URL="+j.redis.URL(), "SIDEKIQ_TIMEOUT=3", "SIDEKIQ_DAEMON_MEMORY_KILLER=1",
			"SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS="+softKB, "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0",
			"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1", "MEMORY_KILLER_CONTROL="+k.Dir+"/fifo", "memory-killer", "-t", k.Dir))
	}
	// Until the successor of one does jobs, the other must take them.
	first := -1
	s.Eventually("one is replaced", func() bool {
		j.enqueue(1, "LeakJob", 0, 0)
		time.Sleep(50 * time.Millisecond) // as jobs come
		if first = slices.IndexFunc(old, func(p harness.Process) bool { return !takesJobs(p) }); first < 0 {
			return false
		}
		replaced := slices.ContainsFunc(j.pids(), func(pid int) bool { return pid != old[0].PID && pid != old[1].PID })
		if !replaced && !takesJobs(old[1-first]) {
			s.Fatalf("neither of the two takes jobs: %v, %v", old[0], old[1])
		}
		return replaced && !old[first].Alive()
	})
	watch[first].Event("restart-done", 1)
	second := 1 - first
	watch[second].Event("restart-postponed", 1)
	s.send(two[second].Dir+"/fifo", "t")
	watch[second].Event("restart-done", 1)
	two[second].working(old[second])
	for _, w := range watch {
		w.WantLines("msg=restart-failed", 0)
	}
	j.allDone()
}

// Through Redis alone: what a real Sidekiq runs is listed, a long job postpones a restart, TSTP makes quiet, and TERM ends.
func TestSignalsAndJobsThroughRedis(t *testing.T) {
	s := newSandbox(t)
	k := s.sidekiq(nil)
	old := k.working()
	fleet := func(code int, text string, args ...string) harness.Result {
		t.Helper()
		r := s.Wants(code, "env", append([]string{"REDIS_URL=" + k.redis.URL(), "SIDEKIQ_TIMEOUT=3", "LONG_WORKERS=Wait*", "sidekiq-fleet"}, args...)...)
		if !strings.Contains(r.Stdout+r.Stderr, text) {
			s.Errorf("sidekiq-fleet %v: want %q\n%s%s", args, text, r.Stdout, r.Stderr)
		}
		return r
	}
	jid := k.enqueue(1, "WaitJob", s.Path("release"))[0]
	k.await("start", 1)
	var running string
	s.Eventually("the job is listed", func() bool { running = fleet(0, "", "jobs").Stdout; return running != "" })
	id, _, _ := strings.Cut(running, " ")
	if !strings.Contains(id, fmt.Sprintf(":%d:", old.PID)) || !strings.HasPrefix(running, id+" "+jid+" WaitJob default ") {
		s.Errorf("jobs: %q, want job %s of process %d", running, jid, old.PID)
	}
	fleet(1, jid, "jobs", "--idle", "--class", "Import* Wait*", k.Dir)
	fleet(75, "jid="+jid+" class=WaitJob", "restart", k.Dir)
	fleet(0, " running ", "ps") // neither ended nor claimed

	fleet(0, "", "signal", "-w", "600", id, "TSTP")
	fleet(0, " quiet ", "ps")
	fleet(1, jid, "jobs", "--idle", id)
	s.Write("release", "", 0o644)
	fleet(0, "", "jobs", "--idle", "-w", "600", id)
	k.exactlyOnce(jid)
	fleet(0, "", "signal", "-w", "600", id, "TERM")
	k.working(old)
}
