package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A pair is two instances of Sidekiq that do the same jobs.
type pair struct {
	s      *sandbox
	redis  *harness.Redis
	two    [2]*sidekiq
	ledger ledger
	jids   []string // of the jobs that were enqueued by enqueue
}

func (s *sandbox) pair() *pair {
	s.Helper()
	s.Need("sidekiq")
	p := &pair{s: s, redis: s.Redis(), ledger: ledger{s, s.Path("ledger")}}
	p.two = [2]*sidekiq{p.instance("a"), p.instance("b")}
	return p
}

// instance starts a Sidekiq as a service of that name.
func (p *pair) instance(name string) *sidekiq {
	p.s.Helper()
	dir := p.s.ServiceDir("runit/sidekiq", name)
	p.s.Conf(dir, sidekiqConf(p.s, p.redis, p.ledger))
	return &sidekiq{p.s.Runsv(dir), p.redis, p.ledger}
}

// fleet runs sidekiq-fleet.
func (p *pair) fleet(args ...string) harness.Result {
	p.s.Helper()
	return p.s.RunCommand(p.command("sidekiq-fleet", args...))
}

func (p *pair) command(name string, args ...string) *exec.Cmd {
	c := p.s.Command(name, args...)
	c.Env = append(c.Env, "REDIS_URL="+p.redis.URL(), "SIDEKIQ_TIMEOUT=3", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1")
	return c
}

// fleetWants runs sidekiq-fleet, and compares its exit code and a part of what it prints.
func (p *pair) fleetWants(code int, text string, args ...string) harness.Result {
	p.s.Helper()
	r := p.fleet(args...)
	if r.Code != code || !strings.Contains(r.Stdout+r.Stderr, text) {
		p.s.Errorf("sidekiq-fleet %v: exit %d, want %d and %q\n%s%s", args, r.Code, code, text, r.Stdout, r.Stderr)
	}
	return r
}

// is waits until Redis has a process in that state, and returns its identity there.
func (p *pair) is(of harness.Process, state string) (id string) {
	p.s.Helper()
	p.s.Eventually(fmt.Sprintf("sidekiq-fleet ps shows %d as %s", of.PID, state), func() bool {
		for line := range strings.Lines(p.fleetWants(0, "", "ps").Stdout) {
			f := strings.Fields(line)
			if id = f[0]; strings.Contains(id, fmt.Sprintf(":%d:", of.PID)) && f[4] == state {
				return true
			}
		}
		return false
	})
	return id
}

// enqueue enqueues a job that leaks.
func (p *pair) enqueue(megabytes int, seconds float64) {
	p.jids = append(p.jids, p.redis.Enqueue(1, "LeakJob", megabytes, seconds)...)
}

// bothOverTheLimit has both leak until they are.
func (p *pair) bothOverTheLimit() (old [2]harness.Process) {
	p.s.Helper()
	limit, err := strconv.Atoi(softKB)
	p.s.Check(err)
	for i, k := range p.two {
		old[i] = k.working()
	}
	for slices.ContainsFunc(old[:], func(o harness.Process) bool { return p.s.KB(o) < limit*12/10 }) {
		p.enqueue(beyondLimit, 0.3)
		p.s.Eventually("it is done", func() bool { return p.ledger.count("done") == len(p.jids) })
	}
	return old
}

// replacesFirst waits until one of the two old processes has exited and its successor does jobs, which come in all the
// while, and step is taken each time. Until then the other must take jobs, too.
func (p *pair) replacesFirst(old [2]harness.Process, step func()) (second int) {
	p.s.Helper()
	takesJobs := func(o harness.Process) bool { return o.Alive() && !strings.HasSuffix(o.Title(), "stopping") }
	p.s.Eventually("one is replaced", func() bool {
		step()
		p.enqueue(0, 0)
		time.Sleep(50 * time.Millisecond) // as jobs come
		first := slices.IndexFunc(old[:], func(o harness.Process) bool { return !takesJobs(o) })
		if first < 0 {
			return false
		}
		second = 1 - first
		done := slices.ContainsFunc(p.ledger.pids(), func(pid int) bool { return pid != old[0].PID && pid != old[1].PID })
		if !done && !takesJobs(old[second]) {
			p.s.Fatalf("neither of the two takes jobs: %v, %v", old[0], old[1])
		}
		return done && !old[first].Alive()
	})
	return second
}

// allDone waits until all jobs are done, each exactly once.
func (p *pair) allDone() {
	p.s.Helper()
	p.s.Eventually("all jobs are done", func() bool { return p.ledger.count("done") >= len(p.jids) })
	p.ledger.exactlyOnce(p.jids)
}

// Both instances are over the limit at the same time: with SIDEKIQ_MEMORY_KILLER_MIN_PEERS they are restarted one after the
// other, one of them takes jobs at every moment, no job is lost and none is done twice. A restart that was postponed is tried
// again after a minute, or on request.
func TestMemoryKillerLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.pair()
	old := p.bothOverTheLimit()
	var watch [2]*harness.Log
	for i, k := range p.two {
		c := p.command("memory-killer", "-t", k.Dir)
		c.Env = append(c.Env, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1", "MEMORY_KILLER_CONTROL="+k.Dir+"/fifo",
			"SIDEKIQ_MEMORY_KILLER_MAX_RSS="+softKB, "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1")
		watch[i] = s.Watch(c)
	}
	second := p.replacesFirst(old, func() {})
	watch[1-second].Event("restart-done", 1)
	watch[second].Event("restart-postponed", 1)
	s.Check(os.WriteFile(p.two[second].Dir+"/fifo", []byte("t"), 0))
	watch[second].Event("restart-done", 1)
	p.two[second].working(old[second])
	for _, w := range watch {
		w.WantLines("msg=restart-failed", 0)
	}
	p.allDone()
}

// Through Redis alone: what runs is listed, a long job postpones a restart, TSTP makes quiet, and TERM ends.
func TestSignalsAndJobsThroughRedis(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.pair()
	busy, other := p.two[0], p.two[1]
	busy.working()
	other.working()
	release := s.Path("release")
	jid := p.redis.Enqueue(1, "WaitJob", release)[0]
	s.Eventually("the job runs", func() bool { return len(p.ledger.of(jid, "start")) == 1 })
	if p.ledger.of(jid, "start")[0].pid == other.working().PID {
		busy, other = other, busy
	}
	old := busy.working()
	id := p.is(old, "running")
	running := id + " " + jid + " WaitJob default "
	s.Eventually("the job is listed", func() bool { return strings.HasPrefix(p.fleetWants(0, "", "jobs").Stdout, running) })
	p.fleetWants(0, running, "jobs", busy.Dir)
	p.fleetWants(0, running, "jobs", id)
	p.fleetWants(1, running, "jobs", "--idle", "--class", "Import* Wait*", busy.Dir)
	if r := p.fleetWants(0, "", "jobs", "--idle", "--class", "Import*", busy.Dir); r.Stdout != "" {
		s.Errorf("jobs of another class: %s", r.Stdout)
	}
	if r := p.fleetWants(0, "", "jobs", "--idle", other.Dir); r.Stdout != "" {
		s.Errorf("jobs of the other instance: %s", r.Stdout)
	}

	c := p.command("sidekiq-fleet", "restart", busy.Dir)
	c.Env = append(c.Env, "LONG_WORKERS=Wait*")
	if r := s.RunCommand(c); r.Code != 75 || !old.Alive() || !strings.Contains(r.Stderr, "jid="+jid+" class=WaitJob") {
		s.Errorf("restart while one of LONG_WORKERS runs: exit %d, it lives: %v\n%s", r.Code, old.Alive(), r.Stderr)
	}
	p.is(old, "running") // not claimed

	p.fleetWants(0, "", "signal", "-w", "600", id, "TSTP")
	p.is(old, "quiet")
	p.fleetWants(75, "0 of 1 other instances needed are available; waiting for "+id+" (quiet)", "claim", other.Dir)
	p.fleetWants(1, running, "jobs", "--idle", id)
	s.Write("release", "", 0o644)
	p.fleetWants(0, "", "jobs", "--idle", "-w", "600", id)
	p.ledger.exactlyOnce([]string{jid})
	p.fleetWants(0, "", "signal", "-w", "600", id, "TERM")
	p.is(busy.working(old), "running")
	p.fleetWants(1, "no such instance", "signal", "host:1:0123456789ab", "TERM")
}
