package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	if err != nil {
		r.s.Fatal(err)
	}
	r.command("SADD", "processes", e.identity())
	r.command("HSET", e.identity(), "info", string(info), "busy", strconv.Itoa(len(e.jobs)), "beat", fmt.Sprint(stamp(now)),
		"quiet", strconv.FormatBool(e.quiet), "rss", strconv.Itoa(e.rss), "rtt_us", "300")
	if e.claimedBy != "" {
		r.command("HSET", e.identity(), "gracekit", fmt.Sprintf("%d %s", now.Add(time.Hour).UnixMilli(), e.claimedBy))
	}
	r.command("EXPIRE", e.identity(), "60")
	for jid, class := range e.jobs {
		payload, err := json.Marshal(map[string]any{"class": class, "jid": jid, "queue": "default", "args": []int{}})
		if err != nil {
			r.s.Fatal(err)
		}
		job, err := json.Marshal(map[string]any{"queue": "default", "payload": string(payload), "run_at": now.Unix() - 7})
		if err != nil {
			r.s.Fatal(err)
		}
		r.command("HSET", e.identity()+":workers", jid, string(job))
	}
}

// enrolledAs is a process of this machine as Sidekiq would enroll it.
func (s *sandbox) enrolledAs(p process) enrolled {
	host, err := os.Hostname()
	if err != nil {
		s.Fatal(err)
	}
	return enrolled{host: host, pid: p.pid, nonce: fmt.Sprintf("%012x", p.pid), started: time.Now(), rss: 100000}
}

// fleetRestart runs fleet-restart for a process that knows no quiet signal.
func (r *redis) fleetRestart(target string, env ...string) result {
	r.s.Helper()
	c := r.s.command("fleet-restart", target)
	c.Env = append(append(c.Env, "REDIS_URL="+r.url(), "QUIET_SIGNAL=", "SHUTDOWN_WAIT=0", "SIDEKIQ_TIMEOUT=5"), env...)
	return r.s.runCommand(c)
}

// An instance is restarted while another can do its work, and not when it is the last one.
func TestFleetRestartLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	a, b := s.balloon(), s.balloon()
	r.beats(s.enrolledAs(a.process))
	r.beats(s.enrolledAs(b.process))
	if got := r.fleetRestart(a.id()); got.code != 0 || a.alive() || !b.alive() {
		s.Errorf("exit %d, it lives: %v, the other: %v\n%s", got.code, a.alive(), b.alive(), got.stderr)
	}
	r.command("SREM", "processes", s.enrolledAs(a.process).identity()) // as Sidekiq does at its end
	got := r.fleetRestart(b.id())
	if got.code != 1 || !b.alive() || !strings.Contains(got.stderr, "not now") {
		s.Errorf("the last one: exit %d, it lives: %v\n%s", got.code, b.alive(), got.stderr)
	}
	if got := r.fleetRestart(b.id(), "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=0"); got.code != 0 || b.alive() {
		s.Errorf("nobody else asked for: exit %d, it lives: %v\n%s", got.code, b.alive(), got.stderr)
	}
}

// Redis gives no answer: no restart, but over the hard limit where that is wanted. An answer that says no counts always.
func TestFleetRestartWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	away := "REDIS_URL=unix://" + s.path("nobody.sock")
	alone := "SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS=1"
	for _, c := range []struct {
		code  int
		alive bool
		env   []string
	}{
		{111, true, []string{away}},
		{111, true, []string{away, "LONG_WORKERS=Import*", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=0"}},
		{1, true, []string{away, "GRACE_REASON=soft"}},                                              // gracewatch asks again, and only if it is still too large
		{1, true, []string{away, "GRACE_REASON=hard", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=999999999"}}, // as many as memory-killer takes
		{1, true, []string{away, "GRACE_REASON=soft", alone}},
		{1, true, []string{away, "GRACE_REASON=soft", "LONG_WORKERS=Import*", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=0"}},
		{1, true, []string{"GRACE_REASON=hard", alone}}, // it answers: there is no such instance
		{0, false, []string{away, "GRACE_REASON=hard", alone}},
		{100, true, []string{"REDIS_URL=nonsense", "GRACE_REASON=hard"}},
		{0, false, []string{"REDIS_URL=nonsense", "GRACE_REASON=hard", alone}}, // nobody was asked
		{0, false, []string{away, "GRACE_REASON=soft", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=0"}},
	} {
		b := s.balloon()
		if got := r.fleetRestart(b.id(), c.env...); got.code != c.code || b.alive() != c.alive {
			s.Errorf("%v: exit %d, it lives: %v; want %d, %v\n%s", c.env, got.code, b.alive(), c.code, c.alive, got.stderr)
		}
	}
	b := s.balloon()
	r.beats(s.enrolledAs(b.process))
	if got := r.fleetRestart(b.id(), "GRACE_REASON=hard", alone); got.code != 1 || !b.alive() {
		s.Errorf("the last one, over the hard limit: exit %d, it lives: %v\n%s", got.code, b.alive(), got.stderr)
	}
}

// What runs is told. A job of LONG_WORKERS holds the restart off, but not over the hard limit.
func TestLongWorkersHoldARestartOff(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	other := s.enrolledAs(s.balloon().process)
	r.beats(other)
	for _, c := range []struct {
		code int
		env  []string
	}{
		{1, []string{"LONG_WORKERS=Export* Import*"}},
		{0, []string{"LONG_WORKERS=Export* Im"}},
		{0, []string{"LONG_WORKERS=Import*", "GRACE_REASON=hard"}},
		{100, []string{"LONG_WORKERS=Import["}},
	} {
		b := s.balloon()
		e := s.enrolledAs(b.process)
		e.jobs = map[string]string{"00112233445566778899aabb": "ImportUsers"}
		r.beats(e)
		got := r.fleetRestart(b.id(), c.env...)
		told := strings.Contains(got.stderr, "running_jobs of "+b.id()+": jid=00112233445566778899aabb class=ImportUsers queue=default seconds=")
		if got.code != c.code || b.alive() != (c.code != 0) || !told {
			s.Errorf("%v: exit %d, it lives: %v, jobs told: %v; want exit %d\n%s", c.env, got.code, b.alive(), told, c.code, got.stderr)
		}
		r.command("SREM", "processes", e.identity())
	}
}

// A restart that failed gives its claim back, and only then. One that was killed may have left a quiet instance: who
// goes on with that needs the claim.
func TestAFailedRestartIsReleased(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	a, b := s.balloon(), s.balloon()
	for _, c := range []struct {
		end     string
		code    int
		claimed int // afterwards
	}{{"exit 111", 111, 0}, {"exit 127", 127, 0}, {"kill -9 $$", 137, 1}, {"kill -HUP $$", 129, 1}} {
		r.command("FLUSHALL")
		r.beats(s.enrolledAs(a.process))
		r.beats(s.enrolledAs(b.process))
		s.write("bin/graceful-restart", "#!/bin/sh\nsidekiq-fleet ps >"+s.path("during")+"\n"+c.end+"\n", 0o755)
		got := r.fleetRestart(a.id(), "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
		during, _ := os.ReadFile(s.path("during"))
		if got.code != c.code || strings.Count(string(during), " claimed ") != 1 {
			s.Errorf("%s: exit %d, want %d; meanwhile:\n%s%s", c.end, got.code, c.code, during, got.stderr)
		}
		ps := s.command("sidekiq-fleet", "ps")
		ps.Env = append(ps.Env, "REDIS_URL="+r.url())
		if after := s.runCommand(ps).stdout; strings.Count(after, " claimed ") != c.claimed || strings.Count(after, "\n") != 2 {
			s.Errorf("%s: afterwards:\n%s", c.end, after)
		}
	}
}

// What is no number is refused by name, before anything is started.
func TestSettingsOfTheFleet(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	for _, c := range []struct{ program, setting, says string }{
		{"memory-killer", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=two", `SIDEKIQ_MEMORY_KILLER_MIN_PEERS: "two" is no number of instances (1)`},
		{"memory-killer", "SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS=yes", `SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS: "yes" is neither 0 nor 1`},
		{"memory-killer", "LONG_WORKERS=Import[", `LONG_WORKERS: "Import[" is no list of patterns (Import* ExportJob)`},
		{"memory-killer", "LONG_WORKERS= ", `LONG_WORKERS: " " is no list of patterns (Import* ExportJob)`},
		{"fleet-restart", "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=-1", `SIDEKIQ_MEMORY_KILLER_MIN_PEERS: "-1" is no number of instances (1)`},
		{"fleet-restart", "SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS=11", `SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS: "11" is neither 0 nor 1`},
		{"remote-restart", "SHUTDOWN_WAIT=soon", `SHUTDOWN_WAIT: "soon" is no duration (30, 90s, inf)`},
		{"remote-restart", "SIDEKIQ_TIMEOUT=0", `SIDEKIQ_TIMEOUT: "0" is no number of seconds (25)`},
		{"fleet-memory-killer", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=", `SIDEKIQ_MEMORY_KILLER_MAX_RSS: "not set" is no number of KB (2000000)`},
		{"fleet-memory-killer", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=80%", `SIDEKIQ_MEMORY_KILLER_MAX_RSS: "80%" is no number of KB (2000000)`},
	} {
		args := map[string][]string{"memory-killer": {"true"}, "fleet-restart": {"1"}, "remote-restart": {"a:1:0123456789ab"}}[c.program]
		cmd := s.command(c.program, args...)
		cmd.Env = append(cmd.Env, c.setting)
		if got, want := s.runCommand(cmd), c.program+": fatal: "+c.says+"\n"; got.code != 100 || got.stderr != want {
			s.Errorf("exit %d, want 100; stderr:\n%swant:\n%s", got.code, got.stderr, want)
		}
	}
}

// A round over the fleet: the worst first; what an earlier round has claimed is seen to its end; what is too young,
// or in the hands of others, is left alone; one that fails does not keep the others from their turn.
func TestARoundOverTheFleet(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	long := time.Now().Add(-time.Hour)
	for i, e := range []enrolled{
		{host: "small", rss: 1000, started: long},
		{host: "large", rss: 300000, started: long},
		{host: "larger", rss: 400000, started: long},
		{host: "largest", rss: 500000, started: long},
		{host: "young", rss: 600000, started: time.Now()},
		{host: "unfinished", rss: 700, started: long, quiet: true, claimedBy: "fleet-memory-killer"},
		{host: "unquiet", rss: 800, started: long, claimedBy: "fleet-memory-killer"}, // the round ended before TSTP was taken
		{host: "deployed", rss: 700000, started: long, quiet: true},
		{host: "watched", rss: 800000, started: long, quiet: true, claimedBy: "watched"},
		{host: "dead", rss: 900000, started: long},
	} {
		e.pid, e.nonce = i+1, "0123456789ab"
		r.beats(e)
		if e.host == "dead" {
			r.command("HSET", e.identity(), "beat", "1700000000")
		}
	}
	s.write("bin/fleet-restart", "#!/bin/sh\necho \"$1 $FLEET_CLAIM\" >>"+s.path("restarted")+"\ncase $1 in larger*) exit 111 ;; *) exit 1 ;; esac\n", 0o755)
	round := func() result {
		t.Helper()
		os.Remove(s.path("restarted"))
		c := s.command("fleet-memory-killer")
		c.Env = append(c.Env, "REDIS_URL="+r.url(), "SIDEKIQ_MEMORY_KILLER_MAX_RSS=200000", "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
		return s.runCommand(c)
	}
	got := round()
	text, _ := os.ReadFile(s.path("restarted"))
	want := ""
	for _, id := range []string{"unfinished:6", "unquiet:7", "largest:4", "larger:3", "large:2"} {
		want += id + ":0123456789ab --as fleet-memory-killer --ttl 24h\n"
	}
	if string(text) != want || got.code != 111 {
		s.Errorf("exit %d, want 111; restarted:\n%swant:\n%s", got.code, text, want)
	}
	if told := strings.Count(got.stderr, "\n"); told != 1 || !strings.Contains(got.stderr, "error: young:5:0123456789ab has 600000 KB ") {
		s.Errorf("stderr: %s", got.stderr)
	}

	r.command("SET", "gracekit:lock:fleet-memory-killer", "another", "PX", "60000")
	got = round()
	if _, err := os.Stat(s.path("restarted")); err == nil || got.code != 1 || got.stderr != "" {
		s.Errorf("while another round is under way: exit %d, restarted: %v\n%s", got.code, err == nil, got.stderr)
	}
}

// What is in Redis and is no identity never names a process of this host: a pid, a path, a pid with something behind it.
func TestARoundTakesNothingForATarget(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	for _, e := range []struct{ identity, mark string }{
		{"1234", ""},
		{"1234:5678901", ""},
		{"/etc/service/a:1:0123456789ab", ""},
		{"-t:1:0123456789ab", ""},
		{"1234 x:1:0123456789ab", "99999999999999 fleet-memory-killer"},
		{"web:1:0123456789ab", ""},
	} {
		r.command("SADD", "processes", e.identity)
		r.command("HSET", e.identity, "info", `{"queues":["default"],"started_at":1700000000}`, "busy", "0", "rss", "900000",
			"beat", strconv.FormatInt(time.Now().Unix(), 10), "quiet", "false", "gracekit", e.mark)
	}
	s.write("bin/fleet-restart", "#!/bin/sh\necho \"$1\" >>"+s.path("restarted")+"\n", 0o755)
	c := s.command("fleet-memory-killer")
	c.Env = append(c.Env, "REDIS_URL="+r.url(), "SIDEKIQ_MEMORY_KILLER_MAX_RSS=200000", "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
	young := enrolled{host: `a\nb`, pid: 1, nonce: "0123456789ab", started: time.Now(), rss: 900000}
	r.beats(young)
	got := s.runCommand(c)
	if text, _ := os.ReadFile(s.path("restarted")); string(text) != "web:1:0123456789ab\n" || got.code != 0 {
		s.Errorf("exit %d, want 0; restarted:\n%s%s", got.code, text, got.stderr)
	}
	if strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, young.identity()) {
		s.Errorf("a message is one line, whatever an instance calls itself:\n%s", got.stderr)
	}
}

// A restart through Redis that failed keeps its claim, unless nothing was begun: the instance may be quiet, and
// the next round sees it to its end.
func TestAFailedRemoteRestartGoesOnInTheNextRound(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	for _, c := range []struct{ says, code, state string }{
		{"as it was", "1", "running"},
		{"a setting", "100", "running"},
		{"no answer, or it did not end", "111", "claimed"},
		{"killed", "137", "claimed"},
	} {
		r.command("FLUSHALL")
		for i, rss := range []int{1000, 300000} {
			r.beats(enrolled{host: "web", pid: i + 1, nonce: "0123456789ab", rss: rss, started: time.Now().Add(-time.Hour)})
		}
		s.write("bin/remote-restart", "#!/bin/sh\necho $1 >>"+s.path("restarted")+"\nexit "+c.code+"\n", 0o755)
		os.Remove(s.path("restarted"))
		round := func() {
			run := s.command("fleet-memory-killer")
			run.Env = append(run.Env, "REDIS_URL="+r.url(), "SIDEKIQ_MEMORY_KILLER_MAX_RSS=200000", "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
			s.runCommand(run)
		}
		round()
		ps := s.command("sidekiq-fleet", "ps", "--over", "200000")
		ps.Env = append(ps.Env, "REDIS_URL="+r.url())
		if got := s.runCommand(ps).stdout; !strings.Contains(got, " "+c.state+" ") {
			s.Errorf("%s: want %s: %s", c.says, c.state, got)
		}
		round()
		if text, _ := os.ReadFile(s.path("restarted")); strings.Count(string(text), "web:2:") != 2 || strings.Contains(string(text), "web:1:") {
			s.Errorf("%s: restarted in two rounds:\n%s", c.says, text)
		}
	}
}

// sv down of the shipped service: the restart under way is seen to its end, no other is begun, and then it is down.
func TestTheServiceOfTheFleetEndsBetweenTwoRestarts(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	for i, rss := range []int{1000, 300000, 400000} {
		r.beats(enrolled{host: "web", pid: i + 1, nonce: "0123456789ab", rss: rss, started: time.Now().Add(-time.Hour)})
	}
	if err := unix.Mkfifo(s.path("go"), 0o600); err != nil {
		s.Fatal(err)
	}
	s.write("bin/fleet-restart", "#!/bin/sh\necho $PPID >"+s.path("round")+"\necho begun $1 >>"+s.path("said")+"\nread -r _ <"+s.path("go")+"\necho done >>"+s.path("said")+"\n", 0o755)
	said := func() string { text, _ := os.ReadFile(s.path("said")); return string(text) }
	dir := s.serviceDir("runit/fleet-memory-killer", "fleet-memory-killer")
	s.conf(dir, map[string]string{"REDIS_URL": r.url(), "SIDEKIQ_MEMORY_KILLER_MAX_RSS": "200000"})
	v := s.runsv(dir, "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
	s.waitFor("the first restart", func() bool { return said() != "" })
	round := firstLine(s.path("round"))
	slept := func() string { // how often: it sleeps until its restart has ended, or a signal comes
		text, _ := os.ReadFile("/proc/" + round + "/status")
		_, times, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		return times
	}
	s.waitFor("the round waits for it", func() bool { p, _ := look(pidOf(round)); return p.state == 'S' })
	before := slept()
	v.control("d")
	s.waitFor("TERM has come to the round", func() bool { return strings.Contains(v.stat(), "got TERM") && slept() != before })
	held := r.command("GET", "gracekit:lock:fleet-memory-killer")
	if v.stat() != "run, got TERM, want down" || held == "" {
		s.Errorf("while the restart is under way: %s, lock: %q", v.stat(), held)
	}
	s.write("go", "\n", 0o600)
	s.waitFor("it is down", func() bool { return v.stat() == "down" })
	if want := "begun web:3:0123456789ab\ndone\n"; said() != want || r.command("EXISTS", "gracekit:lock:fleet-memory-killer") != "0" {
		s.Errorf("%swant:\n%s", said(), want)
	}
}

// An instance that ends by itself while its jobs are waited for is gone, and that is all that was wanted.
func TestAnInstanceThatEndsBeforeTERM(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	r := s.redis()
	e := enrolled{host: "web", pid: 1, nonce: "0123456789ab", started: time.Now(), quiet: true, jobs: map[string]string{"aa": "Import"}}
	r.beats(e)
	c := s.command("remote-restart", e.identity())
	c.Env = append(c.Env, "REDIS_URL="+r.url(), "SHUTDOWN_WAIT=inf", "SIDEKIQ_TIMEOUT=1")
	stderr, err := os.Create(s.path("said"))
	if err != nil {
		s.Fatal(err)
	}
	defer stderr.Close()
	c.Stderr = stderr
	restart := s.start(c)
	said := func() string { text, _ := os.ReadFile(s.path("said")); return string(text) }
	s.waitFor("its jobs are waited for", func() bool { return strings.Contains(said(), "waiting for its jobs") })
	r.command("SREM", "processes", e.identity()) // as Sidekiq does at its end
	<-restart.gone
	if restart.code != 0 || !strings.HasSuffix(said(), "remote-restart: info: "+e.identity()+" is gone\n") {
		s.Errorf("exit %d, want 0\n%s", restart.code, said())
	}
}
