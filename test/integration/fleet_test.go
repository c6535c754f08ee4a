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

// pair starts two instances of Sidekiq that do the same jobs.
func (s *sandbox) pair() (*jobs, [2]*sidekiq) {
	s.Helper()
	j := s.jobs()
	return j, [2]*sidekiq{j.service("a", nil), j.service("b", nil)}
}

// takesJobs: it is neither quiet nor has it exited.
func takesJobs(p harness.Process) bool { return p.Alive() && !strings.HasSuffix(p.Title(), "stopping") }

// Both instances are over the limit at the same time: with SIDEKIQ_MEMORY_KILLER_MIN_PEERS they are restarted one after the
// other, one of them takes jobs at every moment, no job is lost and none is done twice. A restart that was postponed is tried
// again after a minute, or on request.
func TestMemoryKillerLeavesTheLastOne(t *testing.T) {
	s := newSandbox(t)
	j, two := s.pair()
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

// Through Redis alone: what runs is listed, a long job postpones a restart, TSTP makes quiet, and TERM ends.
func TestSignalsAndJobsThroughRedis(t *testing.T) {
	s := newSandbox(t)
	j, two := s.pair()
	fleet := func(code int, text string, args ...string) harness.Result {
		t.Helper()
		r := s.Wants(code, "env", append([]string{"REDIS_URL=" + j.redis.URL(), "SIDEKIQ_TIMEOUT=3", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1",
			"LONG_WORKERS=Wait*", "sidekiq-fleet"}, args...)...)
		if !strings.Contains(r.Stdout+r.Stderr, text) {
			s.Errorf("sidekiq-fleet %v: want %q\n%s%s", args, text, r.Stdout, r.Stderr)
		}
		return r
	}
	shows := func(p harness.Process, state string) (id string) {
		t.Helper()
		s.Eventually(fmt.Sprintf("sidekiq-fleet ps shows %d as %s", p.PID, state), func() bool {
			for line := range strings.Lines(fleet(0, "", "ps").Stdout) {
				f := strings.Fields(line)
				if id = f[0]; strings.Contains(id, fmt.Sprintf(":%d:", p.PID)) && f[4] == state {
					return true
				}
			}
			return false
		})
		return id
	}
	busy, other := two[0], two[1]
	old, idle := busy.working(), other.working()
	jid := j.enqueue(1, "WaitJob", s.Path("release"))[0]
	j.await("start", 1)
	if j.pids()[0] == idle.PID {
		busy, other, old = other, busy, idle
	}
	id := shows(old, "running")
	running := id + " " + jid + " WaitJob default "
	s.Eventually("the job is listed", func() bool { return strings.HasPrefix(fleet(0, "", "jobs").Stdout, running) })
	fleet(0, running, "jobs", busy.Dir)
	fleet(0, running, "jobs", id)
	fleet(1, running, "jobs", "--idle", "--class", "Import* Wait*", busy.Dir)
	for _, none := range [][]string{{"jobs", "--idle", "--class", "Import*", busy.Dir}, {"jobs", "--idle", other.Dir}} {
		if r := fleet(0, "", none...); r.Stdout != "" {
			s.Errorf("%v: %s, want no jobs", none, r.Stdout)
		}
	}
	fleet(75, "jid="+jid+" class=WaitJob", "restart", busy.Dir)
	shows(old, "running") // neither ended nor claimed

	fleet(0, "", "signal", "-w", "600", id, "TSTP")
	shows(old, "quiet")
	fleet(75, "0 of 1 other instances needed are available; waiting for "+id+" (quiet)", "claim", other.Dir)
	fleet(1, running, "jobs", "--idle", id)
	s.Write("release", "", 0o644)
	fleet(0, "", "jobs", "--idle", "-w", "600", id)
	j.exactlyOnce(jid)
	fleet(0, "", "signal", "-w", "600", id, "TERM")
	shows(busy.working(old), "running")
	fleet(1, "no such instance", "signal", "host:1:0123456789ab", "TERM")
}
