package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An app is a folder with bin/background_jobs, as its users have it, and a Redis.
type app struct {
	s  *sandbox
	sh *shell
	ledger
	redis *redis
	dir   string
	env   []string
}

func (s *sandbox) background(sh *shell, env ...string) *app {
	s.Helper()
	for _, needed := range []string{"sidekiq", "flock"} {
		s.need(needed)
	}
	if _, err := os.Stat(s.path("others")); err == nil { // Alpine's busybox has flock, Debian's has not
		s.link(mustLook(s.T, "flock"), "others/flock")
	}
	a := &app{s: s, sh: sh, redis: s.redis(), ledger: ledger{s, s.path("ledger")}, dir: s.path("shop")}
	s.make("shop/bin", "shop/config")
	s.must("cp", sh.bin+"/background_jobs", a.dir+"/bin/")
	a.env = append([]string{"PATH=" + sh.PATH, "REDIS_URL=" + a.redis.url(), "LEDGER=" + a.file, "SIDEKIQ_TIMEOUT=2",
		"SIDEKIQ_COMMAND=sidekiq -c 2 -r " + s.app()}, env...)
	s.Cleanup(func() {
		if r := a.do("stop"); r.code != 0 {
			s.Errorf("stop at the end: exit %d: %s", r.code, r.stderr)
			for _, id := range append(a.ids("pid"), a.ids("loop")...) {
				if p, alive := look(pidOf(id)); alive && p.id() == id {
					p.kill()
				}
			}
		}
		if log, _ := os.ReadFile(a.path("log/sidekiq.log")); s.Failed() {
			s.Logf("log/sidekiq.log:\n%s", log)
		}
	})
	return a
}

func (a *app) path(name string) string { return filepath.Join(a.dir, name) }

// call is bin/background_jobs, from anywhere.
func (a *app) call(args ...string) *exec.Cmd {
	a.s.Helper()
	c := a.s.command(a.path("bin/background_jobs"), args...)
	c.Dir, c.Env = "/", append(c.Env, a.env...)
	return c
}

func (a *app) do(args ...string) result {
	a.s.Helper()
	return a.s.runCommand(a.call(args...))
}

func (a *app) wants(code int, args ...string) result {
	a.s.Helper()
	r := a.do(args...)
	if r.code != code {
		a.s.Fatalf("background_jobs %v: exit %d, want %d\nstdout: %sstderr: %s", args, r.code, code, r.stdout, r.stderr)
	}
	for line := range strings.Lines(r.stderr) {
		if !strings.HasPrefix(line, "background_jobs: ") {
			a.s.Errorf("background_jobs %v: no message of its: %s", args, line)
		}
	}
	return r
}

// ids are the identities in tmp/pids; a kind is pid or loop.
func (a *app) ids(kind string) (ids []string) {
	files, _ := filepath.Glob(a.path("tmp/pids/*." + kind))
	for _, f := range files {
		ids = append(ids, firstLine(f))
	}
	return ids
}

func pidOf(id string) (pid int) {
	fmt.Sscan(strings.ReplaceAll(id, ":", " "), &pid)
	return pid
}

// running waits for so many Sidekiqs that have booted, all others than the given ones.
func (a *app) running(n int, not ...process) (now []process) {
	a.s.Helper()
	a.s.waitFor(fmt.Sprintf("%d others than %v run", n, not), func() bool {
		now = nil
		for _, id := range a.ids("pid") {
			if p, alive := look(pidOf(id)); alive && p.id() == id && booted(p) && !slices.ContainsFunc(not, func(old process) bool { return old.id() == id }) {
				now = append(now, p)
			}
		}
		return len(now) == n
	})
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for _, p := range now { // a Sidekiq is known by its session alone
		a.s.sessions[p.sid] = true
	}
	return now
}

// started starts one, and waits until it has booted.
func (a *app) started(args ...string) process {
	a.s.Helper()
	a.wants(0, append([]string{"start"}, args...)...)
	return a.running(1)[0]
}

// nothing fails the test if anything of it is left: processes (what a watcher does last it does a little later) or files.
func (a *app) nothing(but ...process) {
	a.s.Helper()
	for _, id := range append(a.ids("pid"), a.ids("loop")...) {
		a.s.Errorf("%s is still in tmp/pids", id)
	}
	a.s.waitFor("nothing of it is left", func() bool {
		a.s.mu.Lock()
		defer a.s.mu.Unlock()
		left := processesWith(a.s.mark, a.s.sessions)
		return !slices.ContainsFunc(left, func(p process) bool {
			server := strings.HasPrefix(title(p), "redis-server")
			return !server && !slices.ContainsFunc(but, func(b process) bool { return b.id() == p.id() })
		})
	})
}

func TestBackgroundJobs(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		if r := a.wants(1, "status"); r.stdout != "" || !strings.Contains(r.stderr, "nothing runs in "+a.dir) {
			s.Errorf("status: %q, %q", r.stdout, r.stderr)
		}
		a.wants(0, "stop")
		first := a.started()
		if first.pgid != first.pid || first.sid == first.pid {
			s.Errorf("leads no group, or is in no session of its worker: %v", first)
		}
		if r := a.wants(0, "status"); !strings.HasPrefix(r.stdout, "sidekiq "+first.id()+" ") || r.stderr != "" {
			s.Errorf("status: %q, %q", r.stdout, r.stderr)
		}
		if r := a.wants(1, "start"); !strings.Contains(r.stderr, first.id()) {
			s.Errorf("a second start does not say which process runs: %s", r.stderr)
		}
		jids := a.redis.enqueue(2, "LeakJob", 1, 0)
		s.waitFor("jobs are done", func() bool { return a.count("done") == 2 })
		first.kill()
		second := a.running(1, first)[0] // it comes back
		jids = append(jids, a.redis.enqueue(2, "LeakJob", 1, 0)...)
		s.waitFor("jobs are done", func() bool { return a.count("done") == 4 })
		a.exactlyOnce(jids)

		a.wants(0, "restart")
		third := a.running(1, first, second)[0]
		if second.alive() {
			s.Error("restart has left the last one")
		}
		a.wants(0, "stop")
		a.nothing()
		if third.alive() {
			s.Error("it runs after stop")
		}
		a.wants(0, "stop")
		a.wants(0, "restart") // what does not run is started
		a.running(1)
		log, _ := os.ReadFile(a.path("log/sidekiq.log"))
		if n := strings.Count(string(log), "Booting Sidekiq"); n != 4 || !strings.Contains(string(log), "has ended with 137, the next comes in 1 s") {
			s.Errorf("%d starts in the log", n)
		}
	})
}

func TestOfManyStartsOneWins(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		var all sync.WaitGroup
		results := make([]result, 5)
		for i := range results {
			c := a.call("start")
			all.Go(func() { results[i] = s.runCommand(c) })
		}
		all.Wait()
		p := a.running(1)[0]
		won := 0
		for _, r := range results {
			switch {
			case r.code == 0:
				won++
			case r.code != 1 || !strings.Contains(r.stderr, "runs already in "+a.dir+": sidekiq "+p.id()):
				s.Errorf("exit %d: %s", r.code, r.stderr)
			}
		}
		if won != 1 {
			s.Errorf("%d starts have won, want 1", won)
		}
		a.wants(0, "stop")
		a.nothing()
	})
}

// The killer ends it gracefully, and the next one comes.
func TestBackgroundJobsWithTheMemoryKiller(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS="+softKB,
			"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=1", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1")
		first := a.started()
		jids := a.redis.enqueue(1, "LeakJob", beyondLimit, 3)
		s.waitFor("the job is running", func() bool { return a.count("start") == 1 })
		jids = append(jids, a.redis.enqueue(4, "LeakJob", 1, 0.1)...)
		second := a.running(1, first)[0]
		s.waitFor("all jobs are done", func() bool { return a.count("done") == len(jids) })
		a.exactlyOnce(jids)
		watcher := s.watcherOf(second)
		a.wants(0, "stop")
		a.nothing()
		if watcher.alive() {
			s.Error("its watcher is left")
		}
	})
}

// stop while the killer waits for jobs: it is not brought back, and the job goes back to Redis.
func TestStopInARestartOfTheKiller(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS="+softKB,
			"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1", "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=inf")
		a.started()
		a.redis.enqueue(1, "LeakJob", beyondLimit, 0)
		a.redis.enqueue(1, "WaitJob", s.path("never"))
		s.waitFor("the killer waits for jobs", func() bool {
			log, _ := os.ReadFile(a.path("log/sidekiq.log"))
			return strings.Contains(string(log), "got TSTP, waiting for its jobs") && a.count("start") == 2
		})
		a.wants(0, "stop")
		a.nothing()
		if n := a.redis.command("LLEN", "queue:default"); n != "1" {
			s.Errorf("%s jobs in the queue, want the one that was running", n)
		}
	})
}

// All of its group ends with it, and nobody else does.
func TestStopEndsItsGroupAndNoStranger(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		stranger := s.start(s.command("sleep", "1000"))
		s.make("shop/tmp/pids")
		for name, text := range map[string]string{ // of a process before the last boot, say, and of what others left
			"sidekiq.loop": fmt.Sprintf("%d:1\n", stranger.pid), "sidekiq.pid": fmt.Sprintf("%d:1\n", stranger.pid),
			"sidekiq-2.loop": "", "sidekiq-2.pid": "", "sidekiq_2.pid": stranger.id(), "puma.pid": stranger.id(),
		} {
			s.write("shop/tmp/pids/"+name, text, 0o644)
		}
		a.wants(1, "status")
		a.started()
		pids := s.path("pids")
		a.redis.enqueue(1, "OrphanJob", pids)
		s.waitFor("the job is done", func() bool { return a.count("done") == 1 })
		a.wants(0, "stop")
		left := s.pidsIn(pids)
		if len(left) != 2 {
			s.Errorf("the job has started %v, want 2", left)
		}
		for _, pid := range left {
			if p, alive := look(pid); alive {
				s.Errorf("left: %v", p)
			}
		}
		if !stranger.alive() {
			s.Error("a stranger was signalled")
		}
	})
}

// A plain pid that another process has taken since.
func TestAStalePidfileStopsNoStartAndNoStranger(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		stranger := s.start(s.command("sleep", "1000"))
		for _, name := range []string{"sidekiq.pid", "sidekiq.loop"} {
			file := s.write("shop/tmp/pids/"+name, fmt.Sprintln(stranger.pid), 0o644)
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(file, old, old); err != nil {
				s.Fatal(err)
			}
		}
		a.wants(0, "stop")
		a.started()
		a.wants(0, "stop")
		if !stranger.alive() {
			s.Error("a stranger was signalled")
		}
	})
}

// A bare pid is nothing that was noted here: however fresh the file is, a program that is no Sidekiq is a stranger, whom
// neither a start nor a stop takes for theirs; a Sidekiq is not started twice, and not stopped by whoever did not start it.
func TestABarePidIsOfAStrangerOrOfAnotherScript(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		stranger := s.start(s.command("sleep", "1000"))
		note := func(pid int) {
			s.write("shop/tmp/pids/sidekiq.pid", fmt.Sprintln(pid), 0o644)
			s.write("shop/tmp/pids/sidekiq.loop", fmt.Sprintln(pid), 0o644)
		}
		note(stranger.pid)
		a.wants(0, "stop")
		note(stranger.pid)
		a.started()
		a.wants(0, "stop")
		if !stranger.alive() {
			s.Fatal("a stranger was signalled")
		}
		c := a.call("start")
		c.Path, c.Args, c.Dir = mustLook(s.T, "sidekiq"), []string{"sidekiq", "-c", "2", "-r", s.app()}, a.dir
		other := s.start(c)
		s.waitFor("another script's Sidekiq has booted", func() bool { return booted(other.process) })
		s.write("shop/tmp/pids/sidekiq.pid", fmt.Sprintln(other.pid), 0o644)
		a.wants(1, "start")
		a.wants(1, "stop")
		if !other.alive() {
			s.Error("a Sidekiq was stopped that background_jobs has not started")
		}
		os.Remove(a.path("tmp/pids/sidekiq.pid"))
	})
}

// A pidfile that anybody could have written is believed by nobody.
func TestAPidfileOfAnybodyIsRefused(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		stranger := s.start(s.command("sleep", "1000"))
		for _, name := range []string{"sidekiq.pid", "sidekiq.loop"} {
			file := s.write("shop/tmp/pids/"+name, stranger.id(), 0o666)
			for _, action := range []string{"start", "stop", "restart", "status"} {
				if r := a.do(action); r.code != 111 || !strings.Contains(r.stderr, "tmp/pids/"+name) {
					s.Errorf("%s: exit %d, want 111: %s", action, r.code, r.stderr)
				}
			}
			os.Remove(file)
			if name == "sidekiq.pid" {
				os.Remove(a.path("tmp/pids/sidekiq.loop"))
			}
		}
		if !stranger.alive() {
			s.Error("a stranger was signalled")
		}
	})
}

func TestBackgroundJobsInTheForeground(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		sh.script("svc/run", "exec "+a.path("bin/background_jobs")+" start_foreground\n")
		v := s.runsv(s.path("svc"), a.env...)
		k := &sidekiq{runsv: v}
		first := k.working()
		if ids := a.ids("pid"); len(ids) != 1 || ids[0] != first.id() || len(a.ids("loop")) != 0 {
			s.Errorf("runsv has %s, tmp/pids %v", first.id(), ids)
		}
		for fd, file := range opened(first) {
			if file == a.path("tmp/pids") {
				s.Errorf("it holds the lock as %s", fd)
			}
		}
		if r := a.wants(0, "status"); !strings.HasPrefix(r.stdout, "sidekiq "+first.id()) || !strings.Contains(r.stderr, "foreground") {
			s.Errorf("status: %q, %q", r.stdout, r.stderr)
		}
		for _, action := range []string{"start", "start_foreground", "stop", "restart"} {
			if r := a.wants(1, action); !strings.Contains(r.stderr, first.id()) {
				s.Errorf("%s: %s", action, r.stderr)
			}
		}
		first.kill()
		second := k.working(first)
		v.control("d")
		s.waitFor("it is down, with its last thread", func() bool { return !second.alive() && a.do("status").code == 1 })
		a.started()
		a.wants(0, "stop")
	})
}

// The run and finish scripts of the manual page, where root's runsv runs an ordinary user's Sidekiq: what it left behind ends.
func TestTheForegroundOfAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	s := newSandbox(t)
	s.need("chpst")
	s.make("shop/bin", "shop/config", "svc/conf")
	s.link(mustLook(t, "background_jobs"), "shop/bin/background_jobs")
	s.write("svc/conf/SIDEKIQ_COMMAND", s.write("prog", "#!/bin/sh\nsleep 1000 &\nexec sleep 1000\n", 0o755)+"\n", 0o644)
	page, err := os.ReadFile(repo + "/lib/recipes/background_jobs.8")
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/srv/shop", s.path("shop"), "-u git", "-u nobody")
	for _, script := range []struct{ name, last string }{{"svc/run", "start_foreground"}, {"svc/finish", "group-cleanup"}} {
		for line := range strings.Lines(string(page)) {
			if strings.HasPrefix(line, "exec ") && strings.Contains(line, script.last) {
				s.write(script.name, "#!/bin/sh\nexec 2>&1\n"+here.Replace(line), 0o755)
			}
		}
	}
	s.must("chown", "-R", "nobody", s.path("shop"))
	s.must("chmod", "755", s.dir)
	v := s.runsv(s.path("svc"))
	first := v.running()
	s.waitFor("it has a child", func() bool { return len(group(first.pid)) == 2 })
	first.kill()
	v.running(first)
	if left := group(first.pid); len(left) != 0 {
		s.Errorf("left of the first: %v", left)
	}
}

func TestManyBackgroundWorkers(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh, "SIDEKIQ_WORKERS=2")
		a.wants(0, "start")
		both := a.running(2)
		both[0].kill()
		next := a.running(1, both...)
		if !both[1].alive() {
			s.Error("the other one was ended")
		}
		if r := a.wants(0, "status"); strings.Count(r.stdout, "\n") != 2 || !strings.Contains(r.stdout, next[0].id()) {
			s.Errorf("status: %s", r.stdout)
		}
		a.env = append(a.env, "SIDEKIQ_WORKERS=1")
		a.wants(0, "stop") // those that run, not those that were asked for now
		a.nothing()
		a.env = append(a.env, "SIDEKIQ_WORKERS=2")
		if r := a.wants(100, "start_foreground"); !strings.Contains(r.stderr, "SIDEKIQ_WORKERS") {
			s.Errorf("in the foreground: %s", r.stderr)
		}
	})
}

// Its worker was killed: that it still runs is seen, and it can be stopped.
func TestWithoutItsWorker(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		p := a.started()
		worker, _ := look(pidOf(a.ids("loop")[0]))
		worker.kill()
		s.waitFor("its worker is gone", func() bool { return !worker.alive() })
		if r := a.wants(1, "start"); !strings.Contains(r.stderr, p.id()) {
			s.Errorf("start: %s", r.stderr)
		}
		if r := a.wants(0, "status"); !strings.Contains(r.stderr, "was killed") {
			s.Errorf("status: %s", r.stderr)
		}
		a.wants(0, "stop")
		if p.alive() {
			s.Error("it runs after stop")
		}
		a.nothing()
	})
}

// A start that fails at once is told at once, and leaves nothing.
func TestAStartThatFails(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		sh.script("fails", "echo no app here\nexit 1\n")
		for setting, want := range map[string]result{
			"SIDEKIQ_COMMAND=no-such-program":            {code: 127, stderr: "no-such-program"},
			"SIDEKIQ_COMMAND=" + s.path("fails"):         {code: 111, stderr: "log/sidekiq.log ends with: no app here"},
			"SIDEKIQ_MEMORY_KILLER_MAX_RSS=2G":           {code: 111, stderr: "SIDEKIQ_MEMORY_KILLER_MAX_RSS"},
			"SIDEKIQ_TIMEOUT=2x":                         {code: 100, stderr: "SIDEKIQ_TIMEOUT"},
			"SIDEKIQ_WORKERS=0":                          {code: 100, stderr: "SIDEKIQ_WORKERS"},
			"SIDEKIQ_APP=" + s.path("no/such/directory"): {code: 100, stderr: "SIDEKIQ_APP"},
		} {
			c := a.call("start")
			c.Env = append(c.Env, setting)
			r := s.runCommand(c)
			if r.code != want.code || !strings.Contains(r.stderr, want.stderr) || strings.Count(r.stderr, "\n") != 1 {
				s.Errorf("%s: exit %d, want %d: %s", setting, r.code, want.code, r.stderr)
			}
			a.nothing()
		}
		for _, args := range [][]string{{}, {"reload"}, {"stop", "now"}, {"status", "-v"}, {"-x"}} {
			if r := a.wants(100, args...); !strings.Contains(r.stderr, "usage: background_jobs ") {
				s.Errorf("%v: %s", args, r.stderr)
			}
		}
		a.wants(0, "--help")
	})
}

// Where the app is: above bin, the current folder, or where SIDEKIQ_APP says.
func TestWhereTheAppIs(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.make("shop/bin", "shop/config", "other", "tools/bin", "third folder")
	s.link(mustLook(t, "background_jobs"), "shop/bin/background_jobs")
	s.link(mustLook(t, "background_jobs"), "tools/bin/background_jobs")
	for name, c := range map[string]struct{ script, dir, app, want string }{
		"in bin of an app":        {s.path("shop/bin/background_jobs"), "other", "", "shop"},
		"in bin, relative":        {"bin/background_jobs", "shop", "", "shop"},
		"in bin itself":           {"./background_jobs", "shop/bin", "", "shop"},
		"in bin of something":     {s.path("tools/bin/background_jobs"), "other", "", "other"},
		"in PATH":                 {mustLook(t, "background_jobs"), "other", "", "other"},
		"in bin, but SIDEKIQ_APP": {s.path("shop/bin/background_jobs"), "other", s.path("third folder"), "third folder"},
	} {
		cmd := s.command("sh", "-c", `exec "$0" status`, c.script)
		cmd.Dir = s.path(c.dir)
		cmd.Env = append(cmd.Env, "SIDEKIQ_APP="+c.app)
		if r := s.runCommand(cmd); r.code != 1 || r.stderr != "background_jobs: info: nothing runs in "+s.path(c.want)+"\n" {
			s.Errorf("%s: exit %d: %s", name, r.code, r.stderr)
		}
	}
}

// The PATH of cron has nothing of gracekit: the parts are found beside the script, or what bin/background_jobs links to.
func TestBackgroundJobsOfCron(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		for _, name := range []string{"svpid", "rssprobe", "gracewatch", "pgsignal", "pgexec", "sidekiq-busy"} {
			s.link(mustLook(s.T, name), "recipes/"+name)
		}
		s.must("ln", "-sf", sh.bin+"/background_jobs", a.path("bin"))
		a.env = append(a.env, "PATH=/usr/bin:/bin")
		first := a.started()
		a.wants(0, "status")
		a.wants(0, "restart")
		a.running(1, first)
		a.wants(0, "stop")
		a.nothing()
	})
}

func mustLook(t *testing.T, program string) string {
	t.Helper()
	file, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What is started holds nothing of the shell, or the deployment, that started it.
func TestWhatIsStartedHoldsNothingOfItsCaller(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		c := a.call("start")
		var ends []*os.File
		for _, f := range []*[]*os.File{&c.ExtraFiles} {
			for range 8 { // 3 to 10
				r, w := s.pipe()
				*f, ends = append(*f, w), append(ends, r)
			}
		}
		out, w := s.pipe()
		c.Stdout, c.Stderr, ends = w, w, append(ends, out)
		if err := c.Run(); err != nil {
			s.Fatal(err)
		}
		w.Close()
		for _, w := range c.ExtraFiles {
			w.Close()
		}
		for i, r := range ends {
			r.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, r); err != nil {
				s.Errorf("descriptor %d is still held: %v", i+3, err)
			}
		}
		p := a.running(1)[0]
		syscall.Kill(p.pid, syscall.SIGSTOP) // stop continues it
		a.wants(0, "stop")
	})
}

// The words of SIDEKIQ_COMMAND, Sidekiq's own options in full, and what start was given.
func TestHowBackgroundJobsCallsSidekiq(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("fake", `printf '%s|' "$@" "$RAILS_ENV" "$PWD" >`+s.path("called")+"\nexec sleep 1000\n")
		a := s.background(sh, "SIDEKIQ_COMMAND="+s.path("fake")+"  -q *")
		for _, c := range []struct {
			env  []string
			args []string
			want string
		}{
			{nil, nil, "-q|*|--timeout|2|--environment|production|production"},
			{nil, []string{"-q", "a b"}, "-q|*|--timeout|2|--environment|production|-q|a b|production"},
			{nil, []string{"-e", "staging"}, "-q|*|--timeout|2|-e|staging|production"},
			{[]string{"RAILS_ENV=staging"}, nil, "-q|*|--timeout|2|--environment|staging|staging"},
			{[]string{"RAILS_ENV=staging", "APP_ENV=test"}, nil, "-q|*|--timeout|2|--environment|test|staging"},
		} {
			call := a.call(append([]string{"restart"}, c.args...)...)
			call.Env = append(call.Env, c.env...)
			if r := s.runCommand(call); r.code != 0 {
				s.Fatalf("exit %d: %s", r.code, r.stderr)
			}
			if called := firstLine(s.path("called")); called != c.want+"|"+a.dir+"|" {
				s.Errorf("%v %v: called with %s, want %s", c.env, c.args, called, c.want)
			}
		}
	})
}

// In legacy mode each has a FIFO of its own, in the app: no other place is there for an ordinary user.
func TestBackgroundJobsInLegacyMode(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("fake", `echo "$MEMORY_KILLER_CONTROL" >>`+s.path("controls")+"\nexec sleep 1000\n")
		a := s.background(sh, "SIDEKIQ_COMMAND="+s.path("fake"), "SIDEKIQ_WORKERS=2", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=1",
			"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0", "QUIET_SIGNAL=")
		a.wants(0, "start")
		text, _ := os.ReadFile(s.path("controls"))
		controls := strings.Fields(string(text))
		slices.Sort(controls)
		if want := []string{a.path("tmp/pids/sidekiq-2.control"), a.path("tmp/pids/sidekiq.control")}; !slices.Equal(controls, want) {
			s.Fatalf("told of %v, want %v", controls, want)
		}
		old, other := firstLine(a.path("tmp/pids/sidekiq-2.pid")), firstLine(a.path("tmp/pids/sidekiq.pid"))
		s.waitFor("the second takes commands", func() bool {
			f, err := os.OpenFile(controls[0], os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				return false
			}
			defer f.Close()
			_, err = f.WriteString("c")
			return err == nil
		})
		s.waitFor("the second is restarted", func() bool {
			now := firstLine(a.path("tmp/pids/sidekiq-2.pid"))
			_, alive := look(pidOf(now))
			return now != old && alive
		})
		if now := firstLine(a.path("tmp/pids/sidekiq.pid")); now != other {
			s.Error("the first was restarted, which nobody asked for")
		}
		a.wants(0, "stop")
		a.nothing()
	})
}

// What ends again and again is started less and less often.
func TestNoHotRestartLoop(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("fake", `echo . >>`+s.path("starts")+`
[ ! -e `+s.path("started")+` ] || exit 3
exec sleep 1000
`)
		a := s.background(sh, "SIDEKIQ_COMMAND="+s.path("fake"))
		a.wants(0, "start")
		s.write("started", "", 0o644)
		p, _ := look(pidOf(a.ids("pid")[0]))
		p.kill()
		s.waitFor("the time between two starts grows", func() bool {
			log, _ := os.ReadFile(a.path("log/sidekiq.log"))
			at := strings.Index(string(log), "has ended with 137, the next comes in 1 s")
			return at >= 0 && strings.Contains(string(log)[at:], "has ended with 3, the next comes in 4 s")
		})
		if r := a.wants(1, "status"); r.stdout != "sidekiq - -\n" {
			s.Errorf("status: %q %q", r.stdout, r.stderr)
		}
		a.wants(0, "stop") // at once, not when the time is over
		a.nothing()
		if starts, _ := os.ReadFile(s.path("starts")); len(starts) != 6 {
			s.Errorf("%d starts, want 3", len(starts)/2)
		}
	})
}
