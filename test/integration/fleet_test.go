package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"gracekit/test/harness"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A pair is two instances of Sidekiq that do the same jobs, and a third one for jobs of its own, which nobody ever
// restarts: what that one cannot do in time, the machine is to blame for.
type pair struct {
	s             *sandbox
	redis         *harness.Redis
	two           [2]*sidekiq
	ledger, other ledger
}

func (s *sandbox) pair() *pair {
	s.Helper()
	s.Need("sidekiq")
	p := &pair{s: s, redis: s.Redis(), ledger: ledger{s, s.Path("ledger")}, other: ledger{s, s.Path("other.ledger")}}
	p.two = [2]*sidekiq{p.instance("a", nil), p.instance("b", nil)}
	return p
}

// instance starts a Sidekiq as a service of that name.
func (p *pair) instance(name string, conf map[string]string) *sidekiq {
	p.s.Helper()
	dir := p.s.ServiceDir("runit/sidekiq", name)
	p.s.Conf(dir, sidekiqConf(p.s, p.redis, p.ledger))
	p.s.Conf(dir, conf)
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

// fleetWants runs sidekiq-fleet, and compares its exit code and a piece of what it says.
func (p *pair) fleetWants(code int, says string, args ...string) harness.Result {
	p.s.Helper()
	r := p.fleet(args...)
	if r.Code != code || !strings.Contains(r.Stdout+r.Stderr, says) {
		p.s.Errorf("sidekiq-fleet %v: exit %d, want %d and %q\n%s%s", args, r.Code, code, says, r.Stdout, r.Stderr)
	}
	return r
}

// is waits until Redis has a process in that state, and returns its identity there.
func (p *pair) is(of harness.Process, state string) (id string) {
	p.s.Helper()
	p.s.Eventually(fmt.Sprintf("sidekiq-fleet ps says that %d is %s", of.PID, state), func() bool {
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

// bothOverTheLimit has both leak until they are.
func (p *pair) bothOverTheLimit() (old [2]harness.Process, jids []string) {
	p.s.Helper()
	for i, k := range p.two {
		old[i] = k.working()
	}
	for {
		small := slices.ContainsFunc(old[:], func(o harness.Process) bool { return rssKB(o) < 1.2*softLimit })
		if !small {
			return old, jids
		}
		jids = append(jids, p.redis.Enqueue(1, "LeakJob", beyondLimit, 0.3)...)
		p.s.Eventually("it is done", func() bool { return p.ledger.count("done") == len(jids) })
	}
}

const softLimit = 90000 // KB, as softKB

func rssKB(p harness.Process) (kb int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(rest, &kb)
		}
	}
	return kb
}

// A stream is jobs that come in all the while: at each beat one for the pair, and one for the other Sidekiq.
type stream struct {
	p          *pair
	stop, gone chan struct{}
	once       sync.Once
	jids, also []string
	err        error
}

func (p *pair) stream() *stream {
	p.s.Helper()
	conf := map[string]string{"SIDEKIQ_COMMAND": "sidekiq -c 2 -q other -r " + p.s.app(), "LEDGER": p.other.file}
	p.instance("other", conf).working()
	st := &stream{p: p, stop: make(chan struct{}), gone: make(chan struct{})}
	go st.run()
	p.s.Cleanup(st.end)
	p.s.Eventually("both streams flow", func() bool { return p.other.count("done") > 0 && p.ledger.count("done") > 0 })
	return st
}

func (st *stream) run() {
	defer close(st.gone)
	client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: st.p.redis.Socket})
	defer client.Close()
	beat := time.NewTicker(40 * time.Millisecond)
	defer beat.Stop()
	ctx := context.Background()
	for st.err == nil {
		select {
		case <-st.stop:
			return
		case <-beat.C:
		}
		n := len(st.jids)
		jid, also := fmt.Sprintf("aa%022x", n), fmt.Sprintf("bb%022x", n)
		_, st.err = client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
			pipe.LPush(ctx, "queue:default", tinyJob(jid, "default"))
			pipe.LPush(ctx, "queue:other", tinyJob(also, "other"))
			return nil
		})
		st.jids, st.also = append(st.jids, jid), append(st.also, also)
	}
}

func tinyJob(jid, queue string) string {
	now := float64(time.Now().UnixMicro()) / 1e6
	job, err := json.Marshal(map[string]any{"class": "LeakJob", "args": []any{0, 0}, "queue": queue, "jid": jid, "retry": false,
		"created_at": now, "enqueued_at": now})
	if err != nil {
		panic(err) // there is nothing in it that can't be
	}
	return string(job)
}

func (st *stream) end() {
	st.once.Do(func() { close(st.stop) })
	<-st.gone
}

// judge ends the stream, waits for its last job, and reports what was wrong: a job was lost or done twice, or for a second
// nobody took one. jids are jobs that were there besides.
func (st *stream) judge(jids []string) {
	p := st.p
	p.s.Helper()
	st.end()
	if st.err != nil {
		p.s.Fatal(st.err)
	}
	jids = append(jids, st.jids...)
	p.s.Eventually("all jobs are done", func() bool { return p.ledger.count("done") >= len(jids) && p.other.count("done") >= len(st.also) })
	p.ledger.exactlyOnce(jids)
	p.other.exactlyOnce(st.also)
	var longest, when float64
	starts, others := p.ledger.starts("aa"), p.other.starts("bb")
	for i := 1; i < len(starts); i++ {
		gap := starts[i] - starts[i-1]
		if gap > longest {
			longest, when = gap, starts[i-1]
		}
		if idle := longestGap(others, starts[i-1], starts[i]); gap-idle >= 1 {
			p.s.Errorf("for %.2f s no job was started; the Sidekiq that nobody restarts had started none for %.2f s of these", gap, idle)
		}
	}
	p.s.Logf("%d jobs in processes %v; the longest gap between two starts is %.0f ms, that of the other Sidekiq then %.0f ms",
		len(jids), p.ledger.pids(), longest*1000, longestGap(others, when, when+longest)*1000)
}

// starts are the times at which jobs were started, in order.
func (l ledger) starts(prefix string) (at []float64) {
	for _, e := range l.entries() {
		if e.what == "start" && strings.HasPrefix(e.jid, prefix) {
			at = append(at, e.seconds)
		}
	}
	slices.Sort(at)
	return at
}

// longestGap is the longest time between from and to in which nothing was.
func longestGap(at []float64, from, to float64) (longest float64) {
	last := from
	for _, t := range at {
		if t > from && t < to {
			longest, last = max(longest, t-last), t
		}
	}
	return max(longest, to-last)
}

// bothReplaced waits until both were restarted, and take jobs again.
func (p *pair) bothReplaced(old [2]harness.Process, watch [2]*harness.Log) {
	p.s.Helper()
	for i, w := range watch {
		w.Event("restart-done", 1)
		p.two[i].working(old[i])
		p.takesJobs(p.two[i])
		if n := w.Count("restart-failed"); n > 0 {
			p.s.Errorf("%d restarts of %s failed", n, p.two[i].Dir)
		}
	}
}

// takesJobs waits until a job was started by the process that an instance has now.
func (p *pair) takesJobs(k *sidekiq) {
	p.s.Helper()
	now := k.working()
	p.s.Eventually("the next process takes jobs", func() bool { return slices.Contains(p.ledger.pids(), now.PID) })
}

// Both instances are over the limit at the same time, and jobs come in all the while: with
// SIDEKIQ_MEMORY_KILLER_MIN_PEERS they are restarted one after the other, one of them takes jobs at every moment, no job is
// lost and none is done twice. A restart that was postponed is tried again after a minute, or on request.
func TestMemoryKillerLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.pair()
	old, jids := p.bothOverTheLimit()
	jobs := p.stream()
	var watch [2]*harness.Log
	for i, k := range p.two {
		c := p.command("memory-killer", "-t", k.Dir)
		c.Env = append(c.Env, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1", "MEMORY_KILLER_CONTROL="+k.Dir+"/fifo",
			"SIDEKIQ_MEMORY_KILLER_MAX_RSS="+softKB, "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1")
		watch[i] = s.Watch(c)
	}
	s.Eventually("one is restarted, the other is put off", func() bool {
		return watch[0].Count("restart-done")+watch[1].Count("restart-done") == 1 &&
			watch[0].Count("restart-postponed")+watch[1].Count("restart-postponed") >= 1 // asked again after a minute
	})
	first, second := 0, 1
	if watch[1].Count("restart-done") == 1 {
		first, second = 1, 0
	}
	if !old[second].Alive() {
		s.Error("both were restarted")
	}
	p.is(p.two[first].working(old[first]), "running")
	s.Check(os.WriteFile(p.two[second].Dir+"/fifo", []byte("t"), 0))
	p.bothReplaced(old, watch)
	jobs.judge(jids)
}

// From one host, with nothing beside the instances: round by round, sidekiq-fleet sweep restarts one after the other.
func TestSweepRestartsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.pair()
	old, jids := p.bothOverTheLimit()
	jobs := p.stream()
	round := func() {
		time.Sleep(500 * time.Millisecond) // as cron: not all the time
		c := p.command("sidekiq-fleet", "sweep", "--over", softKB, "--min-age", "0")
		// 111 while one of the two has exited, and is not there again: the other is then the only one.
		if r := s.RunCommand(c); r.Code != 0 && (r.Code != 111 || !strings.Contains(r.Stderr, "not possible: 0 of 1 other instances")) {
			s.Errorf("a round: exit %d\n%s", r.Code, r.Stderr)
		}
	}
	for _, left := range []int{1, 0} {
		s.Eventually(fmt.Sprintf("%d of the old ones are left", left), func() bool {
			round()
			alive := slices.DeleteFunc(slices.Clone(old[:]), func(o harness.Process) bool { return !o.Alive() })
			return len(alive) <= left
		})
	}
	for i, k := range p.two {
		k.working(old[i])
		p.takesJobs(k)
	}
	jobs.judge(jids)
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
	told := id + " " + jid + " WaitJob default "
	s.Eventually("the job is told", func() bool { return strings.HasPrefix(p.fleetWants(0, "", "jobs").Stdout, told) })
	p.fleetWants(0, told, "jobs", busy.Dir)
	p.fleetWants(0, told, "jobs", id)
	p.fleetWants(1, told, "jobs", "--idle", "--class", "Import* Wait*", busy.Dir)
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

	p.fleetWants(0, "", "signal", "-w", "60", id, "TSTP")
	p.is(old, "quiet")
	p.fleetWants(75, "0 of 1 other instances needed are available; waiting for "+id+" (quiet)", "claim", other.Dir)
	p.fleetWants(1, told, "jobs", "--idle", id)
	s.Write("release", "", 0o644)
	p.fleetWants(0, "", "jobs", "--idle", "-w", "60", id)
	p.ledger.exactlyOnce([]string{jid})
	p.fleetWants(0, "", "signal", "-w", "60", id, "TERM")
	p.is(busy.working(old), "running")
	p.fleetWants(1, "no such instance", "signal", "host:1:0123456789ab", "TERM")
}
