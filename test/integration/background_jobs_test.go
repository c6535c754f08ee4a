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
	a.env = append([]string{"PATH=" + sh.PATH, "REDIS_URL=" + a.redis.url(), "LEDGER=" + a.file, "SIDEKIQ_TIMEOUT=3",
		"SIDEKIQ_COMMAND=sidekiq -c 2 -r " + s.app()}, env...)
	s.Cleanup(func() {
		if r := a.do("stop"); r.code != 0 {
			s.Errorf("stop at the end: exit %d: %s", r.code, r.stderr)
			for _, id := range append(a.ids("id"), a.ids("loop")...) {
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

// ids are what is in tmp/pids; a kind is id or loop, which have identities, or pid.
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
		for _, id := range a.ids("id") {
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
	for _, id := range slices.Concat(a.ids("pid"), a.ids("id"), a.ids("loop")) {
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
			"sidekiq.loop": fmt.Sprintf("%d:1\n", stranger.pid), "sidekiq.id": fmt.Sprintf("%d:1\n", stranger.pid),
			"sidekiq-2.loop": "", "sidekiq-2.id": "", "sidekiq_2.pid": stranger.id(), "puma.pid": stranger.id(),
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

// In tmp/pids/sidekiq.pid is the pid of Sidekiq as long as it runs, a line of digits, for kill(1), monit and whoever else.
func TestThePidfileOfBackgroundJobs(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh, "SIDEKIQ_WORKERS=2")
		kept := s.write("kept", "", 0o644)
		a.wants(0, "stop")
		s.make("shop/tmp/pids")
		s.link(kept, "shop/tmp/pids/sidekiq.pid") // neither written through, nor in the way
		s.link(kept, "shop/tmp/pids/sidekiq.pid.new")
		s.make("folder")
		s.link(s.path("folder"), "shop/tmp/pids/sidekiq-2.pid")
		a.wants(0, "start")
		both := a.running(2)
		says := func(p process, name string) bool {
			text, _ := os.ReadFile(a.path("tmp/pids/" + name + ".pid"))
			return string(text) == fmt.Sprintln(p.pid)
		}
		named := func(p process) string {
			if firstLine(a.path("tmp/pids/sidekiq.id")) == p.id() {
				return "sidekiq"
			}
			return "sidekiq-2"
		}
		for _, p := range both {
			if !says(p, named(p)) {
				s.Errorf("tmp/pids has %v, want %d in %s.pid", a.ids("pid"), p.pid, named(p))
			}
		}
		if text, _ := os.ReadFile(kept); len(text) != 0 {
			s.Errorf("written through a link: %q", text)
		}
		if files, _ := os.ReadDir(s.path("folder")); len(files) != 0 {
			s.Errorf("made in a folder that a link pointed to: %v", files)
		}
		if st, err := os.Lstat(a.path("tmp/pids/sidekiq.pid")); err != nil || st.Mode() != 0o644 {
			s.Errorf("not a file that all can read, and one can write: %v %v", st, err)
		}
		name := named(both[0])
		s.must("sh", "-c", "kill -KILL $(cat "+a.path("tmp/pids/"+name+".pid")+")")
		next := a.running(1, both...)[0]
		if !says(next, name) {
			s.Errorf("%s.pid has %q after a restart, want %d", name, firstLine(a.path("tmp/pids/"+name+".pid")), next.pid)
		}
		a.wants(0, "stop")
		a.nothing()
	})
}

// Between two Sidekiqs no pid is there that another program could take for one.
func TestThePidfileIsGoneWithItsProcess(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("fake", "[ ! -e "+s.path("started")+" ] || exit 3\nexec sleep 1000\n")
		a := s.background(sh, "SIDEKIQ_COMMAND="+s.path("fake"))
		a.wants(0, "start")
		s.write("started", "", 0o644)
		p, _ := look(pidOf(a.ids("id")[0]))
		worker, _ := look(pidOf(a.ids("loop")[0]))
		p.kill()
		s.waitFor("it is down, and its pidfile gone", func() bool { // longer from time to time
			return len(a.ids("pid")) == 0 && !p.alive() && worker.alive()
		})
		syscall.Kill(worker.pid, syscall.SIGTERM) // by whoever, not by stop
		s.waitFor("the worker ends", func() bool { return !worker.alive() })
		if pids := a.ids("pid"); len(pids) != 0 {
			s.Errorf("the worker has ended, and tmp/pids has %v", pids)
		}
		a.wants(0, "stop")
		a.nothing()
	})
}

// Whatever is in a .pid, no start or stop minds it, and nobody is signalled for it.
func TestNothingIsDecidedByThePidfile(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("fake", "exec sleep 1000\n")
		a := s.background(sh, "SIDEKIQ_COMMAND="+s.path("fake"))
		stranger := s.start(s.command("sleep", "1000"))
		s.make("shop/tmp/pids")
		file := a.path("tmp/pids/sidekiq.pid")
		text := func(text string, mode os.FileMode) func() {
			return func() { s.write("shop/tmp/pids/sidekiq.pid", text, mode) }
		}
		hostile := map[string]func(){
			"stale":           text("4194304\n", 0o644),
			"a stranger":      text(fmt.Sprintln(stranger.pid), 0o644),
			"its identity":    text(stranger.id()+"\n", 0o644),
			"garbage":         text("\x00\x00-1\n$(touch pwned)", 0o644),
			"pid -1":          text("-1\n", 0o644),
			"empty":           text("", 0o644),
			"of anybody":      text(fmt.Sprintln(stranger.pid), 0o666),
			"a FIFO":          func() { s.must("mkfifo", file) },
			"a dangling link": func() { s.must("ln", "-s", "/nonexistent/file", file) },
		}
		for name, put := range hostile {
			put()
			a.wants(1, "status")
			a.wants(0, "stop")
			if _, err := os.Lstat(file); err == nil {
				s.Errorf("%s: is left by stop", name)
			}
		}
		for _, name := range []string{"a stranger", "of anybody", "garbage", "a FIFO"} {
			hostile[name]()
			a.wants(0, "start")
			if pids, ids := a.ids("pid"), a.ids("id"); len(pids) != 1 || len(ids) != 1 || !strings.HasPrefix(ids[0], pids[0]+":") {
				s.Errorf("%s: tmp/pids has %v, %v", name, pids, ids)
			}
			os.Remove(file)
			hostile[name]() // while it runs
			a.wants(1, "start")
			a.wants(0, "status")
			a.wants(0, "stop")
			a.nothing(stranger.process)
		}
		s.must("mkdir", file) // cannot be put out of the way: that is said, and nothing else
		a.wants(0, "start")
		a.wants(0, "stop")
		if log, _ := os.ReadFile(a.path("log/sidekiq.log")); !strings.Contains(string(log), "warning: tmp/pids/sidekiq.pid is not written: ") {
			s.Errorf("a pidfile that cannot be written is not told: %s", log)
		}
		os.Remove(file)
		if !stranger.alive() {
			s.Error("a stranger was signalled")
		}
	})
}

// A pidfile with nothing of ours beside it counts while it names a Sidekiq: that is not started twice, and not stopped by
// whoever did not start it.
func TestABarePidIsOfAStrangerOrOfAnotherScript(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		c := a.call("start")
		c.Path, c.Args, c.Dir = mustLook(s.T, "sidekiq"), []string{"sidekiq", "-c", "2", "-r", s.app()}, a.dir
		other := s.start(c)
		s.waitFor("another script's Sidekiq has booted", func() bool { return booted(other.process) })
		text := fmt.Sprintln(other.pid)
		file := s.write("shop/tmp/pids/sidekiq.pid", text, 0o644)
		for _, left := range []string{"", "4194304:1\n", "\x00\x00\x00"} { // of a crash of ours before that
			if left != "" {
				s.write("shop/tmp/pids/sidekiq.id", left, 0o644)
				s.write("shop/tmp/pids/sidekiq.loop", left, 0o644)
			}
			for _, action := range []string{"start", "start_foreground", "stop"} {
				if r := a.wants(1, action); !strings.Contains(r.stderr, other.id()+": another script has started it") {
					s.Errorf("%s does not say whose it is: %s", action, r.stderr)
				}
			}
			if r := a.wants(0, "status"); !strings.HasPrefix(r.stdout, "sidekiq "+other.id()+" ") || !strings.Contains(r.stderr, "another script") {
				s.Errorf("status: %q, %q", r.stdout, r.stderr)
			}
			if now, _ := os.ReadFile(file); !other.alive() || string(now) != text {
				s.Fatalf("a Sidekiq was stopped that background_jobs has not started, or its pidfile changed: %q", now)
			}
		}
		other.kill()
		<-other.gone
		a.started()
		a.wants(0, "stop")
		a.nothing()
	})
}

// What a power loss leaves of our own files is told, is no reason to signal anybody, and stops nothing for ever.
func TestATornFileOfOurs(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("fake", "exec sleep 1000\n")
		a := s.background(sh, "SIDEKIQ_COMMAND="+s.path("fake"))
		stranger := s.start(s.command("sleep", "1000"))
		for name, text := range map[string]string{
			"NULs": strings.Repeat("\x00", 14), "empty": "", "a bare pid": fmt.Sprintln(stranger.pid), "cut": fmt.Sprintf("%d:", stranger.pid),
			"an end of NULs": stranger.id() + "\x00\x00", "long": strings.Repeat("1", 5000), "binary": "\xff\xfe\n\x01", "two": stranger.id() + "\n" + stranger.id(),
		} {
			s.write("shop/tmp/pids/sidekiq.id", text, 0o644)
			s.write("shop/tmp/pids/sidekiq.loop", text, 0o644)
			told := func(r result) {
				for _, kind := range []string{"id", "loop"} {
					if !strings.Contains(r.stderr, "warning: tmp/pids/sidekiq."+kind+" holds no identity") {
						s.Errorf("%s in .%s is not told: %s", name, kind, r.stderr)
					}
				}
			}
			told(a.wants(1, "status"))
			if name == "NULs" || name == "a bare pid" { // the others are judged by the same status
				told(a.wants(0, "start"))
				s.write("shop/tmp/pids/sidekiq.id", text, 0o644) // its worker is known
				a.wants(1, "start")
			} else {
				told(a.wants(0, "stop"))
				continue
			}
			a.wants(0, "stop")
			a.nothing(stranger.process)
		}
		if !stranger.alive() {
			s.Error("a stranger was signalled")
		}
	})
}

// What anybody could have written is believed by nobody, whatever it says.
func TestAnIdentityOfAnybodyIsRefused(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		stranger := s.start(s.command("sleep", "1000"))
		for _, kind := range []string{"id", "loop"} {
			for _, text := range []string{stranger.id(), fmt.Sprint(stranger.pid), "\x00"} {
				file := s.write("shop/tmp/pids/sidekiq."+kind, text, 0o666)
				for _, action := range []string{"start", "stop", "restart", "status"} {
					if r := a.do(action); r.code != 111 || !strings.Contains(r.stderr, "tmp/pids/sidekiq."+kind) {
						s.Errorf("%q, %s: exit %d, want 111: %s", text, action, r.code, r.stderr)
					}
				}
				os.Remove(file)
			}
			for _, to := range []string{s.write("elsewhere", stranger.id(), 0o644), "/nonexistent"} {
				s.link(to, "shop/tmp/pids/sidekiq."+kind)
				if r := a.do("start"); r.code != 111 || !strings.Contains(r.stderr, "tmp/pids/sidekiq."+kind) {
					s.Errorf("a link to %s: exit %d, want 111: %s", to, r.code, r.stderr)
				}
				os.Remove(a.path("tmp/pids/sidekiq." + kind))
			}
		}
		p := a.started()
		file := s.write("shop/tmp/pids/sidekiq-2.id", stranger.id(), 0o666)
		if r := a.do("stop"); r.code != 111 || !p.alive() || len(a.ids("loop")) != 1 {
			s.Errorf("exit %d, want 111 and nothing signalled: %s", r.code, r.stderr)
		}
		os.Remove(file)
		if !stranger.alive() {
			s.Error("a stranger was signalled")
		}
	})
}

// Root believes nothing that an ordinary user has written without a process of that user's.
func TestATornFileOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can own another user's file")
	}
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		file := s.write("shop/tmp/pids/sidekiq.id", "\x00", 0o644)
		s.must("chown", "nobody", file)
		if r := a.do("start"); r.code != 111 || !strings.Contains(r.stderr, "somebody else could have written it") {
			s.Errorf("exit %d, want 111: %s", r.code, r.stderr)
		}
		os.Remove(file)
	})
}

// An app's user who links tmp/pids/sidekiq.id to a service of root's does not have root signal that.
func TestALinkOfSomebodyElseToAService(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can own another user's link")
	}
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		s.write("victim/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		victim := s.runsv(s.path("victim")).running()
		s.make("shop/tmp/pids")
		for _, kind := range []string{"id", "loop"} {
			s.link(s.path("victim"), "shop/tmp/pids/sidekiq."+kind)
			s.must("chown", "-h", "nobody", a.path("tmp/pids/sidekiq."+kind))
			for _, action := range []string{"start", "stop", "restart", "status"} {
				if r := a.do(action); r.code != 111 || !strings.Contains(r.stderr, "tmp/pids/sidekiq."+kind+": the link: ") {
					s.Errorf("%s, %s: exit %d, want 111: %s", kind, action, r.code, r.stderr)
				}
			}
			os.Remove(a.path("tmp/pids/sidekiq." + kind))
		}
		if !victim.alive() {
			s.Error("a service of root's was signalled")
		}
	})
}

// What an ordinary user may not read is not taken for nothing.
func TestTheFilesOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	underShells(t, func(s *sandbox, sh *shell) {
		s.need("chpst")
		a := s.background(sh)
		s.make("shop/tmp/pids")
		s.must("chmod", "700", a.path("tmp/pids"))
		s.must("chmod", "755", s.dir)
		for _, action := range []string{"status", "start", "stop", "restart", "start_foreground"} {
			c := s.command("chpst", "-u", "nobody", a.path("bin/background_jobs"), action)
			c.Env = append(c.Env, a.env...)
			if r := s.runCommand(c); r.code != 111 || r.stderr != "background_jobs: fatal: "+a.path("tmp/pids")+" is not for nobody to read\n" {
				s.Errorf("%s: exit %d, want 111: %s", action, r.code, r.stderr)
			}
		}
	})
}

// Without flock two could start at once: that is refused, and said.
func TestNoFlockInPath(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		s.make("no flock")
		for _, dir := range filepath.SplitList(sh.PATH + ":/usr/local/bin") {
			files, _ := os.ReadDir(dir)
			for _, f := range files {
				if f.Name() != "flock" {
					os.Symlink(filepath.Join(dir, f.Name()), s.path("no flock", f.Name()))
				}
			}
		}
		link := s.path("no flock/background_jobs")
		c := a.call("start")
		c.Path, c.Args[0] = link, link
		os.Remove(link) // a copy: the folder of what a link points to is in PATH, too
		s.must("cp", sh.bin+"/background_jobs", link)
		c.Env = append(c.Env, "PATH="+s.path("no flock"), "SIDEKIQ_APP="+a.dir)
		if r := s.runCommand(c); r.code != 111 || r.stderr != "background_jobs: fatal: no flock in PATH (util-linux, or busybox)\n" {
			s.Errorf("exit %d: %s", r.code, r.stderr)
		}
	})
}

// As a deployment lays it out: releases, a link to the current one, and tmp/pids and log linked to what they share.
func TestBackgroundJobsInReleaseFolders(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		a := s.background(sh)
		s.make("srv/shared/tmp/pids", "srv/shared/log", "srv/releases")
		for _, release := range []string{"1", "2"} {
			s.must("cp", "-r", a.dir, s.path("srv/releases", release))
			s.make("srv/releases/" + release + "/tmp")
			s.link(s.path("srv/shared/tmp/pids"), "srv/releases/"+release+"/tmp/pids")
			s.link(s.path("srv/shared/log"), "srv/releases/"+release+"/log")
		}
		deploy := func(release string) { s.must("ln", "-sfn", "releases/"+release, s.path("srv/current")) }
		folder := func(p process) string {
			dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid))
			return dir
		}
		deploy("1")
		a.dir = s.path("srv/current")
		first := a.started()
		deploy("2")
		first.kill()
		second := a.running(1, first)[0]
		if folder(second) != s.path("srv/releases/1") {
			s.Errorf("what comes back after a deployment runs in %s", folder(second))
		}
		a.wants(1, "start")
		a.env = append(a.env, "SIDEKIQ_APP="+a.dir) // as good as the path of the script
		a.wants(0, "restart")
		third := a.running(1, first, second)[0]
		if folder(third) != s.path("srv/releases/2") || second.alive() {
			s.Errorf("after restart it runs in %s; the one before it: %v", folder(third), second.alive())
		}
		s.must("cp", "-r", s.path("srv/releases/2"), s.path("srv/releases/3"))
		deploy("3")
		os.Remove(s.path("srv/releases/3/tmp/pids")) // not linked: nothing is known of the one that runs
		a.wants(1, "status")
		deploy("2")
		a.wants(0, "stop")
		a.nothing()
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
		if ids, pids := a.ids("id"), a.ids("pid"); len(ids) != 1 || ids[0] != first.id() || len(a.ids("loop")) != 0 ||
			len(pids) != 1 || pids[0] != fmt.Sprint(first.pid) {
			s.Errorf("runsv has %s, tmp/pids %v %v", first.id(), ids, pids)
		}
		for fd, file := range opened(first) {
			if file == a.path("tmp/pids") {
				s.Errorf("it holds the lock as %s", fd)
			}
		}
		if r := a.wants(0, "status"); !strings.HasPrefix(r.stdout, "sidekiq "+first.id()) || !strings.Contains(r.stderr, "foreground") {
			s.Errorf("status: %q, %q", r.stdout, r.stderr)
		}
		for _, action := range []string{"start", "start_foreground", "restart"} { // its supervisor would start a second one
			if r := a.wants(1, action); !strings.Contains(r.stderr, first.id()) || !first.alive() {
				s.Errorf("%s: %s", action, r.stderr)
			}
		}
		first.kill()
		second := k.working(first)
		if r := a.wants(0, "stop"); second.alive() || !strings.Contains(r.stderr, second.id()+" is in the foreground") {
			s.Errorf("stop: %s", r.stderr)
		}
		second = k.working(first, second)
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
		text := ""
		for line := range strings.Lines(string(page)) {
			if strings.HasPrefix(line, "#!/bin/sh") {
				text = ""
			}
			if text += line; strings.HasPrefix(line, "exec ") && strings.Contains(line, script.last) {
				s.write(script.name, here.Replace(text), 0o755)
			}
		}
	}
	s.must("chown", "-R", "nobody", s.path("shop"))
	s.must("chmod", "755", s.dir)
	v := s.runsv(s.path("svc"))
	first := v.running()
	s.waitFor("it has a child", func() bool { return len(group(first.pid)) == 2 })
	first.kill()
	second := v.running(first)
	if left := group(first.pid); len(left) != 0 {
		s.Errorf("left of the first: %v", left)
	}
	pidfile := s.path("shop/tmp/pids/sidekiq.pid")
	s.waitFor("the pidfile has the second", func() bool { return firstLine(pidfile) == fmt.Sprint(second.pid) })
	v.control("d")
	s.waitFor("the pidfile is gone with the service", func() bool { _, err := os.Lstat(pidfile); return os.IsNotExist(err) })
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
		a := s.background(sh, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=2000000")
		sh.script("fails", "echo no app here\nexit 1\n")
		// As Ruby and Sidekiq do: the reason comes first, and behind it where it was, or all the options there are.
		sh.script("raises", "printf '%s\\n' 'WARN: RuntimeError: no table' \"/srv/app.rb:1:in \\`require'\" \"\tfrom /usr/bin/sidekiq:25:in '<main>'\"\nexit 1\n")
		sh.script("helps", "printf '%s\\n' 'INFO: use -r [DIR|FILE].' 'INFO: =========' 'INFO: sidekiq [options]' '    -h, --help  Show help' ''\nexit 1\n")
		s.write("shop/log/sidekiq.log", "of yesterday\n", 0o644)
		for setting, want := range map[string]result{
			"SIDEKIQ_COMMAND=no-such-program":            {code: 127, stderr: "no-such-program"},
			"SIDEKIQ_COMMAND=" + s.path("fails"):         {code: 111, stderr: "log/sidekiq.log says: no app here"},
			"SIDEKIQ_COMMAND=" + s.path("raises"):        {code: 111, stderr: "log/sidekiq.log says: WARN: RuntimeError: no table\n"},
			"SIDEKIQ_COMMAND=" + s.path("helps"):         {code: 111, stderr: "log/sidekiq.log says: INFO: use -r [DIR|FILE].\n"},
			"SIDEKIQ_COMMAND=false":                      {code: 111, stderr: "log/sidekiq.log has no word of it"},
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
		os.Remove(a.path("log/sidekiq.log"))
		s.make("shop/log/sidekiq.log")
		if r := a.wants(111, "start"); r.stderr != "background_jobs: fatal: cannot write "+a.path("log/sidekiq.log")+"\n" {
			s.Errorf("the log cannot be written: %s", r.stderr)
		}
	})
}

// Where the app is: above bin, the current folder, or where SIDEKIQ_APP says.
func TestWhereTheAppIs(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.make("shop/bin", "shop/config", "other", "plain/bin", "third folder")
	s.link(mustLook(t, "background_jobs"), "shop/bin/background_jobs")
	s.link(mustLook(t, "background_jobs"), "plain/bin/background_jobs") // no file there says that this is an app
	path, installed := os.Getenv("PATH"), mustLook(t, "background_jobs")
	others := slices.DeleteFunc(filepath.SplitList(path), func(dir string) bool { return dir == filepath.Dir(installed) })
	for name, c := range map[string]struct{ script, dir, app, path, want string }{
		"in bin of an app":            {s.path("shop/bin/background_jobs"), "other", "", path, "shop"},
		"in bin, relative":            {"bin/background_jobs", "shop", "", path, "shop"},
		"in bin itself":               {"./background_jobs", "shop/bin", "", path, "shop"},
		"in bin of an app, in PATH":   {"background_jobs", "other", "", s.path("shop/bin") + ":" + path, "shop"},
		"in bin of any folder":        {s.path("plain/bin/background_jobs"), "other", "", path, "plain"},
		"in bin of any, relative":     {"bin/background_jobs", "plain", "", path, "plain"},
		"in bin of any, in PATH":      {"background_jobs", "other", "", s.path("plain/bin") + ":" + path, "other"},
		"installed, in PATH":          {"background_jobs", "other", "", path, "other"},
		"installed, by its full path": {installed, "other", "", strings.Join(others, ":"), "other"},
		"in bin, but SIDEKIQ_APP":     {s.path("shop/bin/background_jobs"), "other", s.path("third folder"), path, "third folder"},
	} {
		cmd := s.command("sh", "-c", `exec "$0" status`, c.script)
		cmd.Dir = s.path(c.dir)
		cmd.Env = append(cmd.Env, "SIDEKIQ_APP="+c.app, "PATH="+c.path)
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
			{nil, nil, "-q|*|--timeout|3|--environment|production|production"},
			{nil, []string{"-q", "a b"}, "-q|*|--timeout|3|--environment|production|-q|a b|production"},
			{nil, []string{"-e", "staging"}, "-q|*|--timeout|3|-e|staging|production"},
			{[]string{"RAILS_ENV=staging"}, nil, "-q|*|--timeout|3|--environment|staging|staging"},
			{[]string{"RAILS_ENV=staging", "APP_ENV=test"}, nil, "-q|*|--timeout|3|--environment|test|staging"},
		} {
			call := a.call(append([]string{"restart"}, c.args...)...)
			call.Env = append(call.Env, c.env...)
			if r := s.runCommand(call); r.code != 0 {
				s.Fatalf("exit %d: %s", r.code, r.stderr)
			}
			s.waitFor("it is called with "+c.want, func() bool { return firstLine(s.path("called")) == c.want+"|"+a.dir+"|" })
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
		want := []string{a.path("tmp/pids/sidekiq-2.control"), a.path("tmp/pids/sidekiq.control")}
		s.waitFor(fmt.Sprintf("they are told of %v", want), func() bool {
			text, _ := os.ReadFile(s.path("controls"))
			controls := strings.Fields(string(text))
			slices.Sort(controls)
			return slices.Equal(controls, want)
		})
		old, other := firstLine(a.path("tmp/pids/sidekiq-2.id")), firstLine(a.path("tmp/pids/sidekiq.id"))
		s.waitFor("the second takes commands", func() bool {
			f, err := os.OpenFile(want[0], os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				return false
			}
			defer f.Close()
			_, err = f.WriteString("c")
			return err == nil
		})
		s.waitFor("the second is restarted", func() bool {
			now := firstLine(a.path("tmp/pids/sidekiq-2.id"))
			_, alive := look(pidOf(now))
			return now != old && alive
		})
		if now := firstLine(a.path("tmp/pids/sidekiq.id")); now != other {
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
		p, _ := look(pidOf(a.ids("id")[0]))
		p.kill()
		s.waitFor("the time between two starts grows", func() bool {
			log, _ := os.ReadFile(a.path("log/sidekiq.log"))
			at := strings.Index(string(log), "has ended with 137, the next comes in 1 s")
			return at >= 0 && strings.Contains(string(log)[at:], "has ended with 3, the next comes in 16 s")
		})
		if r := a.wants(1, "status"); r.stdout != "sidekiq - -\n" {
			s.Errorf("status: %q %q", r.stdout, r.stderr)
		}
		a.wants(0, "stop") // at once, not when the time is over
		a.nothing()
		if starts, _ := os.ReadFile(s.path("starts")); len(starts) != 10 {
			s.Errorf("%d starts, want 5", len(starts)/2)
		}
	})
}
