package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"gracekit/test/harness"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// An enrolled Sidekiq is what an instance of Sidekiq says of itself in Redis.
type enrolled struct {
	host, nonce string
	pid         int
	started     time.Time
	rss         int
	quiet       bool
	claimedBy   string
	jobs        map[string]string // class by JID
}

func (e enrolled) identity() string { return fmt.Sprintf("%s:%d:%s", e.host, e.pid, e.nonce) }

// beats writes a heartbeat as Sidekiq 6 does.
func (r *redis) beats(e enrolled) {
	r.s.Helper()
	now := time.Now()
	stamp := func(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
	info, err := json.Marshal(map[string]any{"hostname": e.host, "started_at": stamp(e.started), "pid": e.pid, "tag": "", "concurrency": 2,
		"queues": []string{"default"}, "labels": []string{}, "identity": e.identity()})
	r.s.Check(err)
	r.Command("SADD", "processes", e.identity())
	r.Command("HSET", e.identity(), "info", string(info), "busy", strconv.Itoa(len(e.jobs)), "beat", fmt.Sprint(stamp(now)),
		"quiet", strconv.FormatBool(e.quiet), "rss", strconv.Itoa(e.rss), "rtt_us", "300")
	if e.claimedBy != "" {
		r.Command("HSET", e.identity(), "gracekit", fmt.Sprintf("%d %s", now.Add(time.Hour).UnixMilli(), e.claimedBy))
	}
	r.Command("EXPIRE", e.identity(), "60")
	for jid, class := range e.jobs {
		payload, err := json.Marshal(map[string]any{"class": class, "jid": jid, "queue": "default", "args": []int{}})
		r.s.Check(err)
		job, err := json.Marshal(map[string]any{"queue": "default", "payload": string(payload), "run_at": now.Unix() - 7})
		r.s.Check(err)
		r.Command("HSET", e.identity()+":workers", jid, string(job))
	}
}

// enrolledAs is a process of this machine as Sidekiq would enroll it.
func (s *sandbox) enrolledAs(p harness.Process) enrolled {
	host, err := os.Hostname()
	s.Check(err)
	return enrolled{host: host, pid: p.PID, nonce: fmt.Sprintf("%012x", p.PID), started: time.Now(), rss: 100000}
}

// fleetRestart runs sidekiq-fleet restart for a process that knows no quiet signal.
func (r *redis) fleetRestart(target string, env ...string) harness.Result {
	r.s.Helper()
	c := r.s.Command("sidekiq-fleet", "restart", target)
	c.Env = append(append(c.Env, "REDIS_URL="+r.URL(), "QUIET_SIGNAL=", "SHUTDOWN_WAIT=0", "SIDEKIQ_TIMEOUT=5", minPeers+"=1"), env...)
	return r.s.RunCommand(c)
}

const (
	minPeers         = "SIDEKIQ_MEMORY_KILLER_MIN_PEERS"
	hardWithoutPeers = "SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS"
)

// An instance is restarted while another can do its work, and not when it is the last one.
func TestRestartLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	a, b := s.worker(), s.worker()
	r.beats(s.enrolledAs(a.Process))
	r.beats(s.enrolledAs(b.Process))
	if got := r.fleetRestart(a.ID()); got.Code != 0 || a.Alive() || !b.Alive() {
		s.Errorf("exit %d, it lives: %v, the other: %v\n%s", got.Code, a.Alive(), b.Alive(), got.Stderr)
	}
	r.Command("SREM", "processes", s.enrolledAs(a.Process).identity()) // as Sidekiq does when it exits
	got := r.fleetRestart(b.ID())
	if got.Code != 75 || !b.Alive() || !strings.Contains(got.Stderr, "waiting for the successor of "+s.enrolledAs(a.Process).identity()) {
		s.Errorf("soon after that of the other: exit %d, it lives: %v\n%s", got.Code, b.Alive(), got.Stderr)
	}
	r.Command("DEL", "gracekit:restarts") // as Redis does when that successor had its time
	got = r.fleetRestart(b.ID())
	if got.Code != 111 || !b.Alive() || !strings.Contains(got.Stderr, "error: "+s.enrolledAs(b.Process).identity()+": not possible: 0 of 1 other instances") {
		s.Errorf("the last one: exit %d, it lives: %v\n%s", got.Code, b.Alive(), got.Stderr)
	}
	if got := r.fleetRestart(b.ID(), minPeers+"=0"); got.Code != 0 || b.Alive() {
		s.Errorf("others are not needed: exit %d, it lives: %v\n%s", got.Code, b.Alive(), got.Stderr)
	}
}

// Without an answer of Redis there is no restart, but over the hard limit at the latest when the grace time has expired.
func TestRestartWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	away := "REDIS_URL=unix://" + s.Path("nobody.sock")
	const alone, hard, soft, long = hardWithoutPeers + "=1", "GRACE_REASON=hard", "GRACE_REASON=soft", "LONG_WORKERS=Import*"
	const expired, expires = "GRACE_OVER_SECONDS=900", "GRACE_OVER_SECONDS=899"
	for _, c := range []struct {
		code  int
		alive bool
		env   []string
	}{
		{111, true, []string{away}},
		{111, true, []string{away, long, minPeers + "=0"}},
		{75, true, []string{away, soft}}, // gracewatch asks again, and only if it is still too large
		{75, true, []string{away, soft, alone}},
		{75, true, []string{away, soft, expired}},
		{75, true, []string{away, soft, long, minPeers + "=0"}},
		{75, true, []string{away, hard, minPeers + "=99"}},
		{75, true, []string{hard}}, // the answer is that there is no such instance
		{0, false, []string{away, hard, alone}},
		{0, false, []string{hard, alone}}, // whatever it answers
		{0, false, []string{away, hard, expired}},
		{0, false, []string{away, hard, expires}}, // a second is waited for here
		{0, false, []string{hard, "GRACE_OVER_SECONDS=7", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=5"}},
		{100, true, []string{"REDIS_URL=nonsense", hard}},
		{0, false, []string{"REDIS_URL=nonsense", hard, alone}},
		{0, false, []string{away, soft, minPeers + "=0"}},
	} {
		b := s.worker()
		if got := r.fleetRestart(b.ID(), c.env...); got.Code != c.code || b.Alive() != c.alive {
			s.Errorf("%v: exit %d, it lives: %v; want %d, %v\n%s", c.env, got.Code, b.Alive(), c.code, c.alive, got.Stderr)
		}
	}
}

// Running jobs are logged. A job of LONG_WORKERS postpones the restart, but not over the hard limit.
func TestLongWorkersPostponeARestart(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	other := s.enrolledAs(s.worker().Process)
	r.beats(other)
	for _, c := range []struct {
		code int
		env  []string
	}{
		{75, []string{"LONG_WORKERS=Export* Import*"}},
		{75, []string{"LONG_WORKERS=Import*", minPeers + "=0"}},
		{0, []string{"LONG_WORKERS=Export* Im"}},
		{0, []string{"LONG_WORKERS=Import*", "GRACE_REASON=hard"}},
	} {
		b := s.worker()
		e := s.enrolledAs(b.Process)
		e.jobs = map[string]string{"00112233445566778899aabb": "ImportUsers"}
		r.beats(e)
		got := r.fleetRestart(b.ID(), c.env...)
		logged := strings.Contains(got.Stderr, "info: running_jobs of "+b.ID()+": jid=00112233445566778899aabb class=ImportUsers queue=default seconds=")
		if got.Code != c.code || b.Alive() != (c.code != 0) || !logged {
			s.Errorf("%v: exit %d, it lives: %v, jobs logged: %v; want exit %d\n%s", c.env, got.Code, b.Alive(), logged, c.code, got.Stderr)
		}
		if c.code == 75 && !strings.Contains(got.Stderr, "not now: job 00112233445566778899aabb (ImportUsers), one of LONG_WORKERS") {
			s.Errorf("%v: it is not said what will pass:\n%s", c.env, got.Stderr)
		}
		r.Command("SREM", "processes", e.identity())
	}
}

// A restart that failed releases its claim, unless the instance is quiet: then the next try needs it.
func TestAFailedRestartIsReleased(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	a, b := s.worker(), s.worker()
	quiet := "redis-cli -s " + r.Socket + " HSET " + s.enrolledAs(a.Process).identity() + " quiet true >/dev/null; "
	for _, c := range []struct {
		end     string
		code    int
		claimed int // afterwards
	}{{"exit 111", 111, 0}, {"exit 1", 1, 0}, {"kill -9 $$", 137, 0}, {quiet + "exit 111", 111, 1}, {quiet + "kill -HUP $$", 129, 1}} {
		r.Command("FLUSHALL")
		r.beats(s.enrolledAs(a.Process))
		r.beats(s.enrolledAs(b.Process))
		s.Write("bin/graceful-restart", "#!/bin/sh\nsidekiq-fleet ps >"+s.Path("during")+"\n"+c.end+"\n", 0o755)
		got := r.fleetRestart(a.ID(), "PATH="+s.Path("bin")+":"+os.Getenv("PATH"))
		during, _ := os.ReadFile(s.Path("during"))
		if got.Code != c.code || strings.Count(string(during), " claimed ") != 1 {
			s.Errorf("%s: exit %d, want %d; meanwhile:\n%s%s", c.end, got.Code, c.code, during, got.Stderr)
		}
		if after := r.ps(); strings.Count(after, " claimed ") != c.claimed || strings.Count(after, "\n") != 2 {
			s.Errorf("%s: afterwards:\n%s", c.end, after)
		}
	}
}

// ps is what sidekiq-fleet ps prints.
func (r *redis) ps(args ...string) string {
	r.s.Helper()
	c := r.s.Command("sidekiq-fleet", append([]string{"ps"}, args...)...)
	c.Env = append(c.Env, "REDIS_URL="+r.URL())
	return r.s.RunCommand(c).Stdout
}

// A restart of one worker of a service claims all its Sidekiqs: they are not each other's peers.
func TestAServiceIsClaimedAsAWhole(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	parent, stranger := s.parentOfWorkers(2), s.worker()
	for _, p := range append(parent.workers, stranger.Process) {
		r.beats(s.enrolledAs(p))
	}
	s.Write("bin/graceful-restart", "#!/bin/sh\nsidekiq-fleet ps >"+s.Path("during")+"\nexit 1\n", 0o755)
	restart := func(env ...string) (code, claimed int) {
		os.Remove(s.Path("during"))
		got := r.fleetRestart(parent.workers[0].ID(), append(env, "GRACE_SERVICE="+parent.ID(), "PATH="+s.Path("bin")+":"+os.Getenv("PATH"))...)
		during, _ := os.ReadFile(s.Path("during"))
		return got.Code, strings.Count(string(during), " claimed ")
	}
	if code, claimed := restart(minPeers + "=1"); code != 1 || claimed != 2 {
		s.Errorf("exit %d, %d claimed; want both of the service", code, claimed)
	}
	if code, _ := restart(minPeers + "=2"); code != 111 {
		s.Errorf("exit %d with MIN_PEERS=2: there is one other", code)
	}
	if code, claimed := restart(minPeers+"=2", "MEMORY_KILLER_RESTART=worker"); code != 1 || claimed != 1 {
		s.Errorf("one worker alone: exit %d, %d claimed", code, claimed)
	}
}

// A parent is a process with workers below it.
type parent struct {
	harness.Process
	workers []harness.Process
}

func (s *sandbox) parentOfWorkers(n int) parent {
	s.Helper()
	c := exec.Command("sh", "-c", `for i in $(seq `+strconv.Itoa(n)+`); do mkfifo in$i; "$0" <in$i >out$i & eval "exec $((i + 2))>in$i"; echo heartbeat >&$((i + 2)); done; wait`, os.Args[0])
	c.Dir = s.Dir
	c.Env = append(os.Environ(), s.Mark, harness.Role+"="+roleBalloon)
	f := parent{Process: s.Start(c).Process}
	for i := range n {
		s.Eventually("a worker", func() bool {
			text, _ := os.ReadFile(s.Path(fmt.Sprintf("out%d", i+1)))
			return string(text) == heartbeat+"\n"
		})
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", f.PID, f.PID))
	s.Check(err)
	for _, pid := range strings.Fields(string(children)) {
		p, ok := harness.FindProcess(harness.PIDOf(pid))
		if !ok {
			s.Fatalf("no process %s", pid)
		}
		f.workers = append(f.workers, p)
	}
	return f
}

// obey has a fake instance take its signals, as Sidekiq does at a heartbeat: TSTP makes it quiet, and with TERM it exits.
// What it got is noted in the list "test:log". Its heart goes on beating.
func (r *redis) obey(ids ...string) {
	r.s.Helper()
	client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: r.Socket})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.s.Cleanup(func() { cancel(); <-done; client.Close() })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, id := range ids {
				client.HSet(ctx, id, "beat", float64(time.Now().UnixMilli())/1000)
				sig, err := client.RPop(ctx, id+"-signals").Result()
				switch {
				case err != nil:
					continue
				case sig == "TSTP":
					client.HSet(ctx, id, "quiet", "true")
				case sig == "TERM":
					client.SRem(ctx, "processes", id)
				}
				client.RPush(ctx, "test:log", sig+" "+id)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

// sweep runs a round with a limit of 200000 KB.
func (r *redis) sweep(args ...string) harness.Result {
	r.s.Helper()
	c := r.s.Command("sidekiq-fleet", append([]string{"sweep", "--over", "200000"}, args...)...)
	c.Env = append(c.Env, "REDIS_URL="+r.URL(), "SIDEKIQ_TIMEOUT=1", "SHUTDOWN_WAIT=1")
	return r.s.RunCommand(c)
}

// A round over the fleet: what an earlier round has claimed is finished first, then the worst comes first. What is too
// young, or in the hands of others, is left alone.
func TestARoundOverTheFleet(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	long := time.Now().Add(-time.Hour)
	const sweep = "sidekiq-fleet-sweep"
	var ids []string
	for i, e := range []enrolled{
		{host: "small", rss: 1000, started: long},
		{host: "large", rss: 300000, started: long},
		{host: "larger", rss: 400000, started: long},
		{host: "largest", rss: 500000, started: long},
		{host: "young", rss: 600000, started: time.Now()},
		{host: "unfinished", rss: 700, started: long, quiet: true, claimedBy: sweep},
		{host: "unquiet", rss: 800, started: long, claimedBy: sweep}, // the round ended before TSTP was taken
		{host: "deployed", rss: 700000, started: long, quiet: true},
		{host: "watched", rss: 800000, started: long, quiet: true, claimedBy: "watched"},
		{host: "dead", rss: 900000, started: long},
	} {
		e.pid, e.nonce = i+1, "0123456789ab"
		r.beats(e)
		if e.host == "dead" {
			r.Command("HSET", e.identity(), "beat", "1700000000")
			continue
		}
		ids = append(ids, e.identity())
	}
	r.obey(ids...)
	dry := r.sweep("-n")
	if n := strings.Count(dry.Stdout, "\n"); dry.Code != 0 || n != 5 || r.Command("EXISTS", "test:log") != "0" {
		s.Errorf("-n: exit %d, %d lines, want 5\n%s", dry.Code, n, dry.Stdout)
	}
	got := r.sweep()
	want := ""
	for _, id := range []string{"unfinished:6", "unquiet:7", "largest:4", "larger:3", "large:2"} {
		id += ":0123456789ab"
		if id != "unfinished:6:0123456789ab" {
			want += "TSTP " + id + "\n"
		}
		want += "TERM " + id + "\n"
	}
	if did := r.Command("LRANGE", "test:log", "0", "-1") + "\n"; did != want || got.Code != 0 {
		s.Errorf("exit %d, want 0; signals:\n%swant:\n%s%s", got.Code, did, want, got.Stderr)
	}
	if strings.Count(got.Stderr, "error: ") != 1 || !strings.Contains(got.Stderr, "error: young:5:0123456789ab has 600000 KB ") {
		s.Errorf("stderr: %s", got.Stderr)
	}

	r.Command("SET", "gracekit:lock:sweep", "another", "PX", "60000")
	if got := r.sweep(); got.Code != 75 {
		s.Errorf("while another round is under way: exit %d\n%s", got.Code, got.Stderr)
	}
}

// The last one that can do the work is not taken; one that does not take its signals keeps its claim only if it is quiet.
func TestARoundLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	e := enrolled{host: "web", pid: 1, nonce: "0123456789ab", rss: 300000, started: time.Now().Add(-time.Hour)}
	r.beats(e)
	if got := r.sweep(); got.Code != 111 || !strings.Contains(got.Stderr, "not possible: 0 of 1 other instances") || r.Command("EXISTS", e.identity()+"-signals") != "0" {
		s.Errorf("exit %d\n%s", got.Code, got.Stderr)
	}
}

// With --grace only what was over the limit in all rounds for that long is restarted.
func TestAGraceTimeBetweenRounds(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	long := time.Now().Add(-time.Hour)
	large := enrolled{host: "web", pid: 1, nonce: "0123456789ab", rss: 300000, started: long}
	small := enrolled{host: "web", pid: 2, nonce: "0123456789ab", rss: 1000, started: long}
	r.beats(large)
	r.beats(small)
	r.obey(large.identity())
	did := func() string { return r.Command("LRANGE", "test:log", "0", "-1") }
	r.sweep("--grace", "1h")
	if did() != "" {
		s.Errorf("in the first round: %s", did())
	}
	r.Command("HSET", large.identity(), "rss", "1000")
	r.sweep("--grace", "1ms")
	r.Command("HSET", large.identity(), "rss", "300000")
	if r.sweep("--grace", "1ms"); did() != "" {
		s.Errorf("after it was under the limit: %s", did())
	}
	if r.sweep("--grace", "1ms"); did() == "" {
		s.Error("not restarted, though it was over the limit in two rounds")
	}
}

// What is in Redis and is not an identity never names a process of this host: a pid, a path, a pid with something behind it.
func TestARoundTakesNothingForATarget(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	for _, e := range []struct{ identity, mark string }{
		{"1234", ""},
		{"1234:5678901", ""},
		{"-t:1:", ""},
		{"1234 x:1:0123456789a", "99999999999999 sidekiq-fleet-sweep"},
		{"web:1:0123456789ab", ""},
	} {
		r.Command("SADD", "processes", e.identity)
		r.Command("HSET", e.identity, "info", `{"queues":["default"],"started_at":1700000000}`, "busy", "0", "rss", "900000",
			"beat", strconv.FormatInt(time.Now().Unix(), 10), "quiet", "false", "gracekit", e.mark)
	}
	young := enrolled{host: `a\nb`, pid: 1, nonce: "0123456789ab", started: time.Now(), rss: 900000}
	r.beats(young)
	got := r.sweep("-n")
	if !strings.HasPrefix(got.Stdout, "web:1:0123456789ab ") || strings.Count(got.Stdout, "\n") != 1 || got.Code != 0 {
		s.Errorf("exit %d, want 0; it would restart:\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
	if strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, young.identity()) {
		s.Errorf("a message is one line, whatever an instance calls itself:\n%s", got.Stderr)
	}
}

// sv down of the shipped service: the restart under way is finished, no other is begun, and then it is down.
func TestTheServiceOfTheFleetEndsBetweenTwoRestarts(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	var ids []string
	for i, rss := range []int{1000, 300000, 400000} {
		e := enrolled{host: "web", pid: i + 1, nonce: "0123456789ab", rss: rss, started: time.Now().Add(-time.Hour)}
		r.beats(e)
		ids = append(ids, e.identity())
	}
	dir := s.ServiceDir("runit/sidekiq-fleet-sweep", "sidekiq-fleet-sweep")
	s.Conf(dir, map[string]string{"REDIS_URL": r.URL(), "SWEEP_OVER": "200000", "SIDEKIQ_TIMEOUT": "1"})
	v := s.Runsv(dir)
	s.Eventually("the first restart", func() bool { return r.Command("LRANGE", ids[2]+"-signals", "0", "-1") == "TSTP" })
	v.Control("d")
	s.Eventually("TERM has come", func() bool { return strings.Contains(v.Stat(), "got TERM") })
	time.Sleep(200 * time.Millisecond) // TERM has come to the round as well, or comes while the first instance goes
	r.obey(ids...)
	s.Eventually("it is down", func() bool { return v.Stat() == "down" })
	if did, want := r.Command("LRANGE", "test:log", "0", "-1"), "TSTP "+ids[2]+"\nTERM "+ids[2]; did != want || r.Command("EXISTS", "gracekit:lock:sweep") != "0" {
		s.Errorf("%s\nwant:\n%s", did, want)
	}
}

// An instance that exits by itself while its jobs are waited for has been restarted.
func TestAnInstanceThatExitsBeforeTERM(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	e := enrolled{host: "web", pid: 1, nonce: "0123456789ab", started: time.Now(), quiet: true, jobs: map[string]string{"aa": "Import"}}
	r.beats(e)
	c := s.Command("sidekiq-fleet", "restart", e.identity())
	c.Env = append(c.Env, "REDIS_URL="+r.URL(), "SHUTDOWN_WAIT=inf", "SIDEKIQ_TIMEOUT=1")
	stderr, err := os.Create(s.Path("said"))
	s.Check(err)
	defer stderr.Close()
	c.Stderr = stderr
	restart := s.Start(c)
	said := func() string { text, _ := os.ReadFile(s.Path("said")); return string(text) }
	s.Eventually("its jobs are waited for", func() bool { return strings.Contains(said(), "waiting for its jobs") })
	r.Command("SREM", "processes", e.identity()) // as Sidekiq does when it exits
	<-restart.Done
	if restart.Code != 0 || !strings.HasSuffix(said(), "sidekiq-fleet: info: "+e.identity()+" has exited\n") {
		s.Errorf("exit %d, want 0\n%s", restart.Code, said())
	}
}
