package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A shell is what scripts meet as /bin/sh: Debian's, or Alpine's with its own grep, sed, mkdir...
type shell struct {
	s    *sandbox
	path string // of the interpreter
	bin  string // the recipes, for that interpreter
	PATH string
}

// underShells runs a test with each shell that scripts may meet.
func underShells(t *testing.T, test func(*sandbox, *shell)) {
	for _, name := range []string{"dash", "busybox ash"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			test(s, s.shell(name))
		})
	}
}

func (s *sandbox) shell(name string) *shell {
	s.Helper()
	program, applet, isApplet := strings.Cut(name, " ")
	s.need(program)
	file, err := exec.LookPath(program)
	if err != nil {
		s.Fatal(err)
	}
	sh := &shell{s: s, path: file, bin: s.path("recipes"), PATH: s.path("recipes") + ":" + os.Getenv("PATH")}
	if isApplet {
		// Nothing but busybox, our programs, and what a service directory needs of runit, s6 and Sidekiq.
		s.make("applets", "others")
		s.must("busybox", "--install", "-s", s.path("applets"))
		sh.path = s.path("applets", applet)
		for _, needed := range []string{"chpst", "svlogd", "sidekiq", "s6-supervise", "s6-log", "s6-envdir", "s6-setuidgid", "s6-envuidgid", "s6-applyuidgid"} {
			if file, err := exec.LookPath(needed); err == nil {
				s.link(file, "others/"+needed)
			}
		}
		ours, err := exec.LookPath("svpid")
		if err != nil {
			s.Fatal(err)
		}
		sh.PATH = strings.Join([]string{sh.bin, filepath.Dir(ours), s.path("applets"), s.path("others")}, ":")
	}
	s.must("cp", "-a", repo+"/lib/recipes", sh.bin)
	sh.interpret(sh.bin)
	return sh
}

func (s *sandbox) make(folders ...string) {
	s.Helper()
	for _, f := range folders {
		if err := os.MkdirAll(s.path(f), 0o755); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *sandbox) link(to, name string) {
	s.Helper()
	if err := os.Symlink(to, s.path(name)); err != nil {
		s.Fatal(err)
	}
}

func (s *sandbox) must(name string, args ...string) {
	s.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		s.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// interpret makes this shell the interpreter of all scripts in a folder. Sed makes new files of them: one that this
// process itself had open to write may be so in a child that another test forks right then, and then is no program (ETXTBSY).
func (sh *shell) interpret(folder string) {
	sh.s.Helper()
	sh.s.must("find", folder, "-type", "f", "-exec", "sed", "-i", "1s|^#!/bin/sh|#!"+sh.path+"|", "{}", "+")
}

// script writes a script for this shell.
func (sh *shell) script(name, text string) {
	sh.s.Helper()
	sh.interpret(sh.s.write(name, "#!/bin/sh\n"+text, 0o755))
}

// command makes a command that runs a recipe, and finds nothing but what is in the shell's PATH.
func (sh *shell) command(env []string, recipe string, args ...string) *exec.Cmd {
	sh.s.Helper()
	c := sh.s.command(sh.bin+"/"+recipe, args...)
	c.Env = append(append(c.Env, "PATH="+sh.PATH), env...)
	return c
}

func (sh *shell) run(env []string, recipe string, args ...string) result {
	sh.s.Helper()
	return sh.s.runCommand(sh.command(env, recipe, args...))
}

// quick are settings of a target that knows no quiet and is over its limit.
var quick = []string{"SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0",
	"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1", "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=0", "SIDEKIQ_TIMEOUT=5", "QUIET_SIGNAL="}

// The interpreter is the one that is meant, and in ash's PATH a tool is busybox's: else these tests show nothing.
func TestShellsAreWhatTheyAreCalled(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("recipes/which", "readlink -f /proc/$$/exe\ncommand -v grep || :\ncommand -v bash || echo no bash\n")
		want := []string{"dash\n"}
		if strings.HasSuffix(sh.path, "/ash") {
			want = []string{"busybox\n", s.path("applets/grep") + "\n", "no bash\n"}
		}
		r := sh.run(nil, "which")
		for _, w := range want {
			if !strings.Contains(r.stdout, w) {
				s.Errorf("want %q: %s%s", w, r.stdout, r.stderr)
			}
		}
	})
}

// All shell scripts of the repository are shell to dash and to ash.
func TestShellsParseAllScripts(t *testing.T) {
	t.Parallel()
	list, err := exec.Command("git", "-C", repo, "ls-files", "-z").Output()
	if err != nil {
		t.Skip("not a git checkout")
	}
	var scripts []string
	for file := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		text, _ := os.ReadFile(repo + "/" + file)
		first, _, _ := strings.Cut(string(text), "\n")
		if strings.HasPrefix(first, "#!") && slices.Contains([]string{"sh", "dash", "ash"}, filepath.Base(first[strings.LastIndexAny(first, " !")+1:])) ||
			strings.HasPrefix(first, "#!/bin/sh ") {
			scripts = append(scripts, file)
		}
	}
	if !slices.Contains(scripts, "lib/recipes/memory-killer") || !slices.Contains(scripts, "runit/sidekiq/run") {
		t.Fatalf("these are not all: %v", scripts)
	}
	for _, shell := range [][]string{{"dash"}, {"busybox", "ash"}} {
		for _, script := range scripts {
			if out, err := exec.Command(shell[0], append(shell[1:], "-n", repo+"/"+script)...).CombinedOutput(); err != nil {
				t.Errorf("%v -n %s: %v\n%s", shell, script, err, out)
			}
		}
	}
}

// Bad input gets the same exit code and the same line under both, and nothing happens.
func TestShellsRefuseTheSame(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	target := s.start(s.command("sleep", "1000"))
	id := target.id()
	ended := s.start(s.command("true"))
	<-ended.gone
	gone := ended.id()
	shells := map[string]*shell{}
	for i, name := range []string{"dash", "busybox ash"} {
		in := &sandbox{T: t, dir: s.path(fmt.Sprint("shell", i)), mark: s.mark, sessions: s.sessions}
		s.make(fmt.Sprint("shell", i))
		shells[name] = in.shell(name)
	}
	type row struct {
		code int
		says string // nothing: stderr is empty
		env  string
		args []string
	}
	rows := []row{
		{100, "usage: graceful-restart TARGET", "", []string{"graceful-restart"}},
		{100, "usage", "", []string{"graceful-restart", "-x"}},
		{100, "usage", "", []string{"graceful-restart", id, id}},
		{0, "", "", []string{"graceful-restart", "--help"}},
		{100, `SHUTDOWN_WAIT: "long"`, "SHUTDOWN_WAIT=long", []string{"graceful-restart", id}},
		{100, `SHUTDOWN_WAIT: "1?2"`, "SHUTDOWN_WAIT=1\n2", []string{"graceful-restart", id}},
		{100, `SHUTDOWN_WAIT: "30 "`, "SHUTDOWN_WAIT=30 ", []string{"graceful-restart", id}},
		{100, `SHUTDOWN_WAIT: "\n"`, `SHUTDOWN_WAIT=\n`, []string{"graceful-restart", id}},
		{100, `SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT: "-1"`, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=-1", []string{"graceful-restart", id}},
		{100, `SIDEKIQ_TIMEOUT: "0x10"`, "SIDEKIQ_TIMEOUT=0x10", []string{"graceful-restart", id}},
		{100, `SIDEKIQ_TIMEOUT: "a[$(touch pwned)]"`, "SIDEKIQ_TIMEOUT=a[$(touch pwned)]", []string{"graceful-restart", id}},
		{111, "/nonexistent", "", []string{"graceful-restart", "/nonexistent"}},
		{0, "is gone", "", []string{"graceful-restart", gone}},
		{100, "usage: memory-killer", "", []string{"memory-killer"}},
		{100, "usage", "", []string{"memory-killer", "-t"}},
		{100, "usage", "", []string{"memory-killer", "-x", "y"}},
		{0, "", "", []string{"memory-killer", "-h"}},
		{100, `SIDEKIQ_DAEMON_MEMORY_KILLER: "yes"`, "SIDEKIQ_DAEMON_MEMORY_KILLER=yes", []string{"memory-killer", "-t", id}},
		{100, `SIDEKIQ_MEMORY_KILLER_MAX_RSS: "2Q"`, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=2Q", []string{"memory-killer", "-t", id}},
		{100, `MAX_RSS: "010"`, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=010", []string{"memory-killer", "-t", id}},
		{100, `MAX_RSS: "\1"`, `SIDEKIQ_MEMORY_KILLER_MAX_RSS=\1`, []string{"memory-killer", "-t", id}},
		{100, `MAX_RSS: "*"`, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=*", []string{"memory-killer", "touch", "started"}},
		{100, `MAX_RSS: "99999999999999999999"`, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=99999999999999999999", []string{"memory-killer", "-1", id}},
		{100, `MAX_RSS: "$(touch pwned)"`, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=$(touch pwned)", []string{"memory-killer", "touch", "started"}},
		{100, `INTERVAL: "0"`, "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=0", []string{"memory-killer", "-t", id}},
		{100, `GRACE_TIME: "15 minutes"`, "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=15 minutes", []string{"memory-killer", "-t", id}},
		{100, `SIDEKIQ_TIMEOUT: "0"`, "SIDEKIQ_TIMEOUT=0", []string{"memory-killer", "-t", id}},
		{100, "no absolute path", "MEMORY_KILLER_CONTROL=relative", []string{"memory-killer-control", "."}},
		{100, "no absolute path", "MEMORY_KILLER_CONTROL=/a b", []string{"memory-killer-control", "."}},
		{100, "no FIFO", "MEMORY_KILLER_CONTROL=/dev/null", []string{"memory-killer-control", "."}},
		{100, "no service directory", "", []string{"memory-killer-control", "/nonexistent"}},
		{100, "is no group", "MEMORY_KILLER_CONTROL_GROUP=a;b", []string{"memory-killer-control", "."}},
		{100, "usage", "", []string{"memory-killer-control"}},
		{0, "", "", []string{"memory-killer-control", "--help"}},
		{100, "usage: memory-killer-cron", "", []string{"memory-killer-cron"}},
		{100, "usage", "", []string{"memory-killer-cron", "-x"}},
		{100, `GRACE_TIME: "15m"`, "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=15m", []string{"memory-killer-cron", id}},
		{1, "", "", []string{"memory-killer-cron", gone}},
		{100, "usage: group-cleanup", "", []string{"group-cleanup", "-x"}},
		{0, "", "", []string{"group-cleanup", "--help"}},
		{0, "", "", []string{"group-cleanup", "/nonexistent"}},
		{0, "", "", []string{"group-cleanup", "/nonexistent", ""}},
		{100, `"$(touch pwned)" is no process group`, "", []string{"group-cleanup", "/nonexistent", "$(touch pwned)"}},
		{0, "", "", []string{"group-cleanup", "/nonexistent", "4194303"}},
		{0, "", "", []string{"sidekiq-run", "--help"}},
		{100, "usage: sidekiq-run", "", []string{"sidekiq-run", "sidekiq"}},
		{100, `SIDEKIQ_TIMEOUT: "a[$(touch pwned)]"`, "SIDEKIQ_TIMEOUT=a[$(touch pwned)]", []string{"sidekiq-run"}},
		{100, `SIDEKIQ_TIMEOUT: "1?2"`, "SIDEKIQ_TIMEOUT=1\n2", []string{"sidekiq-run"}},
		{100, `"12x" is no process group`, "", []string{"group-cleanup", "/nonexistent", "12x"}},
		{100, `"1" is no process group`, "", []string{"group-cleanup", "/nonexistent", "1"}},
		{100, "usage: sidekiq-run", "", []string{"sidekiq-run", "x"}},
		{100, `SIDEKIQ_TIMEOUT: "-1"`, "SIDEKIQ_TIMEOUT=-1", []string{"sidekiq-run"}},
		{100, "usage: fleet-restart", "", []string{"fleet-restart"}},
		{100, `MIN_PEERS: "-1"`, "SIDEKIQ_MEMORY_KILLER_MIN_PEERS=-1", []string{"fleet-restart", id}},
		{100, "HARD_WITHOUT_PEERS", "SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS=yes", []string{"fleet-restart", id}},
		{100, "usage: remote-restart", "", []string{"remote-restart"}},
		{100, `SHUTDOWN_WAIT: "long"`, "SHUTDOWN_WAIT=long", []string{"remote-restart", "host:1:0123456789ab"}},
		{100, "usage: fleet-memory-killer", "", []string{"fleet-memory-killer", "x"}},
		{100, `MAX_RSS: "2Q"`, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=2Q", []string{"fleet-memory-killer"}},
	}
	recipes, err := filepath.Glob(shells["dash"].bin + "/*")
	if err != nil || len(recipes) == 0 {
		t.Fatal("no recipes", err)
	}
	for _, recipe := range recipes {
		if name := filepath.Base(recipe); !strings.Contains(name, ".") {
			rows = append(rows, row{100, "fatal: usage: " + name, "", []string{name, "--nosuch"}})
		}
	}
	for _, c := range rows {
		env := []string{"SIDEKIQ_DAEMON_MEMORY_KILLER=1", "MEMORY_KILLER_STATE=" + s.path("state")}
		if c.env != "" {
			env = append(env, c.env)
		}
		results := map[string]result{}
		for name, sh := range shells {
			r := sh.run(env, c.args[0], c.args[1:]...)
			if r.code != c.code || !strings.Contains(r.stderr, c.says) || (c.says == "") != (r.stderr == "") || r.code != 0 && strings.Count(r.stderr, "\n") > 1 {
				t.Errorf("%s: %s %v: exit %d, want %d and %q\n%s", name, c.env, c.args, r.code, c.code, c.says, r.stderr)
			}
			results[name] = r
			for _, file := range []string{"started", "pwned"} {
				if _, err := os.Stat(sh.s.path(file)); err == nil {
					t.Errorf("%s: %s %v made %s", name, c.env, c.args, file)
				}
			}
		}
		if results["dash"] != results["busybox ash"] {
			t.Errorf("%s %v is not the same to both: %v", c.env, c.args, results)
		}
		s.onlyRuns(target.process)
	}
}

// graceful-restart of a service: all of its group has ended, and runsv has started the next one.
func TestShellsGracefulRestart(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("svc/run", `exec pgexec -f supervise/pgid sh -c '(trap "" HUP TERM; exec sleep 1000) & exec sleep 1000'`+"\n")
		sh.script("svc/finish", "exec group-cleanup\n")
		v := s.runsv(s.path("svc"), "PATH="+sh.PATH)
		old := v.running()
		members := s.groupOf(old, 2)
		r := sh.run([]string{"SHUTDOWN_WAIT=1", "SIDEKIQ_TIMEOUT=5"}, "graceful-restart", s.path("svc"))
		want := fmt.Sprintf("%s has no handler for TSTP", old.id())
		if r.code != 0 || !strings.Contains(r.stderr, want) || !strings.HasSuffix(r.stderr, old.id()+" and its group are gone\n") {
			s.Errorf("exit %d: %s", r.code, r.stderr)
		}
		for _, p := range members {
			if p.alive() {
				s.Errorf("left of the group: %v", p)
			}
		}
		v.running(old)
	})
}

// memory-killer -t beside a service, memory-killer in front of a program, and from cron: a restart each.
func TestShellsMemoryKiller(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		sh.script("svc/run", "exec pgexec sleep 1000\n")
		v := s.runsv(s.path("svc"), "PATH="+sh.PATH)
		first := v.running()
		if code, said := s.cronOf(sh, s.path("svc")); code != 0 || !strings.Contains(said, "restart-done") {
			s.Errorf("cron: exit %d\n%s", code, said)
		}
		second := v.running(first)
		w := s.watchedBy(sh.command(quick, "memory-killer", "-t", s.path("svc")))
		w.event("restart-done", 1)
		third := v.running(first, second)
		w.kill() // the limit of 1 KB is not for the rest of the test
		<-w.gone
		v.down()
		s.waitFor("it is down", func() bool { return !third.alive() })
		if code, said := s.cronOf(sh, s.path("svc")); code != 1 || said != "" {
			s.Errorf("cron of what is down: exit %d\n%s", code, said)
		}

		sh.script("chain/run", "export "+strings.Join(quick, " ")+"\nexec pgexec memory-killer sleep 1000\n")
		chain := s.runsv(s.path("chain"), "PATH="+sh.PATH)
		first = chain.running()
		second = chain.running(first)
		chain.running(first, second)
		chain.down()
	})
}

func (s *sandbox) cronOf(sh *shell, target string) (code int, said string) {
	r := sh.run(quick, "memory-killer-cron", target)
	return r.code, r.stdout + r.stderr
}

// The control FIFO of legacy mode, whoever makes it: named after the service directory, and its user's group may write.
func TestShellsControl(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		fifo := s.path("run/x.control")
		r := sh.run([]string{"MEMORY_KILLER_CONTROL=" + fifo, "SIDEKIQ_USER=root"}, "memory-killer-control", ".")
		if want := "--control-group root -c " + fifo + "\n"; r.code != 0 || r.stdout != want {
			s.Errorf("exit %d, %q, want %q: %s", r.code, r.stdout, want, r.stderr)
		}
		c := sh.command(append(slices.Clone(quick), "SIDEKIQ_DAEMON_MEMORY_KILLER=0", "MEMORY_KILLER_CONTROL="+fifo), "memory-killer", "sleep", "1000")
		w := s.watchedBy(c)
		w.event("watching", 1)
		f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			s.Fatal(err)
		}
		f.WriteString("c")
		f.Close()
		<-w.gone
	})
}

// A real Sidekiq in the service directories as they are: quieted and restarted when it leaks, and its finish
// script clears up when it died.
func TestShellsServiceDirectories(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		s.need("sidekiq")
		redis := s.redis()
		ledger := ledger{s, s.path("ledger")}
		dir, killerDir := s.serviceDir("runit/sidekiq", "sidekiq"), s.serviceDir("runit/sidekiq-memory-killer", "sidekiq-memory-killer")
		sh.interpret(dir)
		sh.interpret(killerDir)
		s.conf(dir, sidekiqConf(s, redis, ledger))
		s.conf(killerDir, quickWatch)
		k := &sidekiq{s.runsv(dir, "PATH="+sh.PATH), redis, ledger}
		first := k.working()
		s.runsv(killerDir, "PATH="+sh.PATH)
		events := s.eventsIn(killerDir + "/log/main/current")
		jids := redis.enqueue(1, "LeakJob", beyondLimit, 0)
		events.event("restart-done", 1)
		second := k.working(first)

		children := s.path("children")
		redis.enqueue(1, "OrphanJob", children)
		s.waitFor("the job has left processes", func() bool { return len(s.pidsIn(children)) == 2 })
		var left []process
		for _, pid := range s.pidsIn(children) {
			p, _ := look(pid)
			left = append(left, p)
		}
		syscall.Kill(second.pid, syscall.SIGKILL)
		k.working(first, second)
		for _, p := range left {
			if p.alive() {
				s.Errorf("outlived its Sidekiq: %v", p)
			}
		}
		if n := len(k.of(jids[0], "done")); n != 1 {
			s.Errorf("the job was done %d times", n)
		}
	})
}
