package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gracekit/test/harness"
)

// An app is a folder with bin/background_jobs, a link as its page has it.
type app struct {
	*jobs
	dir  string
	env  []string
	hide string // programs that are not there, as where they are not installed
}

// background makes an app whose programs and service directories are as installed: bin beside share/gracekit.
func (s *sandbox) background(env ...string) *app {
	s.Helper()
	s.Need("runsvdir")
	program, err := exec.LookPath("background_jobs")
	s.Check(err)
	s.Mkdir("usr/share/gracekit", "shop/bin", "shop/config")
	s.Must("cp", "-a", filepath.Dir(program), s.Path("usr/bin"))
	s.Must("cp", "-a", harness.Repo()+"/runit", harness.Repo()+"/s6", s.Path("usr/share/gracekit"))
	s.Link(s.Path("usr/bin/background_jobs"), "shop/bin/background_jobs")
	a := &app{jobs: s.jobs(), dir: s.Path("shop")}
	a.env = slices.Concat(a.environment(), []string{"SIDEKIQ_TIMEOUT=3", "SIDEKIQ_USER=root", "SIDEKIQ_COMMAND=sidekiq -c 2 -r " + testdata("app.rb")}, env)
	s.Show("shop/log/sidekiq.log")
	s.Cleanup(func() { a.wants(0, "stop") })
	return a
}

func (a *app) path(name string) string { return a.dir + "/" + name }

// call is bin/background_jobs, from anywhere.
func (a *app) call(args ...string) *exec.Cmd {
	a.s.Helper()
	args = append([]string{a.path("bin/background_jobs")}, args...)
	if a.hide != "" {
		hide := `for program in ` + a.hide + `; do mount --bind /dev/null "$(command -v "$program")"; done; exec "$@"`
		args = append([]string{"unshare", "--mount", "sh", "-ec", hide, "sh"}, args...)
	}
	return a.s.Command("env", slices.Concat([]string{"-C", "/"}, a.env, args)...)
}

func (a *app) wants(code int, args ...string) harness.Result {
	a.s.Helper()
	r := a.s.RunCommand(a.call(args...))
	if r.Code != code {
		a.s.Fatalf("background_jobs %v: exit %d, want %d\nstdout: %sstderr: %s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// running waits for the Sidekiq of a service that has booted, other than the given ones: by its plain pidfile.
func (a *app) running(service string, not ...harness.Process) (p harness.Process) {
	a.s.Helper()
	a.s.Eventually("another "+service+" has booted", func() bool {
		var alive bool
		p, alive = harness.FindProcess(harness.PIDOf(harness.FirstLine(a.path("tmp/pids/" + service + ".pid"))))
		return alive && booted(p) && !slices.ContainsFunc(not, func(old harness.Process) bool { return old.ID() == p.ID() })
	})
	a.s.Adopt(p)
	return p
}

// left is what is left of it but for Redis.
func (a *app) left() (left []harness.Process) {
	for _, p := range a.s.Left() {
		if !strings.HasPrefix(p.Title(), "redis-server") {
			left = append(left, p)
		}
	}
	return left
}

// stop ends all of it.
func (a *app) stop() {
	a.s.Helper()
	a.wants(0, "stop")
	a.nothingLeft()
}

func (a *app) nothingLeft() {
	a.s.Helper()
	a.s.Eventually("nothing of it is left", func() bool { return len(a.left()) == 0 })
	if a.s.Exists("shop/tmp/pids/sidekiq.pid") {
		a.s.Error("tmp/pids/sidekiq.pid is left")
	}
}

// Start, status, restart and stop do what they say; of many starts at once one wins; a Sidekiq that dies comes back, one over
// the limit is restarted gracefully by the killer beside it, and no job is lost. SIDEKIQ_WORKERS is how many there are.
func TestBackgroundJobs(t *testing.T) {
	s := newSandbox(t)
	a := s.background("SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS="+softKB,
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=1", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1")
	a.wants(1, "status")
	a.wants(0, "stop")
	var all sync.WaitGroup
	codes := make([]int, 3)
	for i := range codes {
		c := a.call("start")
		all.Go(func() { codes[i] = s.RunCommand(c).Code })
	}
	all.Wait()
	if slices.Sort(codes); !slices.Equal(codes, []int{0, 1, 1}) {
		s.Errorf("three starts exit %v, want one 0, else 1", codes)
	}
	first := a.running("sidekiq")
	if r := a.wants(0, "status"); !strings.HasPrefix(r.Stdout, "sidekiq "+first.ID()+"\n") {
		s.Errorf("status: %q, want %s", r.Stdout, first.ID())
	}
	first.Kill()
	second := a.running("sidekiq", first)
	a.enqueue(1, "LeakJob", beyondLimit, 3)
	a.await("start", 1)
	a.enqueue(4, "LeakJob", 1, 0.1)
	third := a.running("sidekiq", first, second)
	a.allDone()
	a.wants(0, "restart")
	s.haveEnded(second, third)
	fourth := a.running("sidekiq")
	a.stop()
	s.haveEnded(fourth)
	a.wants(1, "status")

	a.env = append(a.env, "SIDEKIQ_WORKERS=2")
	a.wants(0, "start")
	if one, two := a.running("sidekiq"), a.running("sidekiq-2"); one.PID == two.PID {
		s.Errorf("one process: %v", one)
	}
	if r := a.wants(0, "status"); strings.Count(r.Stdout, "\n") != 4 {
		s.Errorf("status: %q, want two Sidekiqs and two killers", r.Stdout)
	}
	a.stop()
}

// If any process of it is killed, there is one Sidekiq afterwards, and stop ends everything. On s6 where runit is not installed.
func TestBackgroundJobsKilled(t *testing.T) {
	t.Parallel()
	for supervisor, hide := range map[string]string{"runsv": "", "s6-supervise": "runsvdir sv chpst"} {
		t.Run(supervisor, func(t *testing.T) {
			s := newSandbox(t)
			if hide != "" {
				s.NeedRoot()
			}
			s.Need(supervisor)
			a := s.background()
			a.hide = hide
			a.wants(0, "start")
			first := a.running("sidekiq")
			parent, _ := harness.FindProcess(first.PPID)
			if parent.Title() != supervisor+"\x00sidekiq" {
				s.Fatalf("the parent is %q, want %s", parent.Title(), supervisor)
			}
			parent.Kill() // the supervisor above starts another one
			second := a.running("sidekiq", first)
			s.haveEnded(first)
			killer, _ := harness.FindProcess(harness.PIDOf(harness.FirstLine(a.path("tmp/pids/sv/sidekiq-memory-killer/supervise/pgid"))))
			above, _ := harness.FindProcess(harness.PIDOf(harness.FirstLine(a.path("tmp/pids/supervisor.id"))))
			above.Kill()
			parent, _ = harness.FindProcess(killer.PPID)
			parent.Kill()
			began := time.Now()
			a.wants(0, "start") // ends what has no supervisor, and starts
			if took := time.Since(began); took > 50*time.Second {
				s.Errorf("start waited %v: a supervisor that was killed answers nobody", took)
			}
			third := a.running("sidekiq", first, second)
			s.haveEnded(second, killer)
			a.stop()
			s.haveEnded(third)
		})
	}
}

// A new release that does not share tmp/pids finds the supervisor of the last one by the logical path: start says that it
// runs, and restart ends it.
func TestANewReleaseFindsWhatTheLastOneStarted(t *testing.T) {
	s := newSandbox(t)
	a := s.background()
	release := func(name string) {
		s.Must("cp", "-a", s.Path("shop.new"), s.Path(name))
		s.Must("ln", "-sfn", name, a.dir)
	}
	s.Must("mv", a.dir, s.Path("shop.new"))
	release("release-1")
	a.wants(0, "start")
	first := a.running("sidekiq")
	release("release-2")
	if r := a.wants(0, "status"); !strings.HasPrefix(r.Stdout, "sidekiq "+first.ID()+"\n") {
		s.Errorf("status: %q, want %s", r.Stdout, first.ID())
	}
	a.wants(1, "start")
	a.wants(0, "restart")
	second := a.running("sidekiq", first)
	s.haveEnded(first)
	release("release-3")
	s.Must("rm", "-r", s.Path("release-2"))
	a.stop()
	s.haveEnded(second)
}

// Wrong settings are refused before anything is started, and a program that fails at once is not left to be tried again. How
// long stop waits for a Sidekiq is what that was started with, whatever the caller has set.
func TestAStartThatFails(t *testing.T) {
	s := newSandbox(t)
	a := s.background()
	good := a.env
	for setting, code := range map[string]int{"SIDEKIQ_WORKERS=0": 100, "SIDEKIQ_TIMEOUT=soon": 100, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=2Q": 100,
		"SIDEKIQ_USER=no-such-user": 100, "SIDEKIQ_USER=root:no-such-group": 100, "SIDEKIQ_COMMAND=no-such-program": 111} {
		a.env = append(slices.Clone(good), setting)
		r := a.wants(code, "start")
		if name, value, _ := strings.Cut(setting, "="); !strings.Contains(r.Stderr, strings.TrimPrefix(value, "root:")) || code == 100 && !strings.Contains(r.Stderr, name) {
			s.Errorf("%s: %s", setting, r.Stderr)
		}
		a.nothingLeft()
	}
	a.env = append(slices.Clone(good), "SIDEKIQ_COMMAND=false")
	if r := a.wants(111, "start"); !strings.HasSuffix(r.Stderr, "sidekiq.log: (none)\n") {
		s.Errorf("a Sidekiq that says nothing: %q", r.Stderr)
	}
	a.env = append(slices.Clone(good), "SIDEKIQ_USER=")
	a.wants(1, "-q", "status") // root may ask for the state of its own app without a user
	a.env = append(good, "SIDEKIQ_TIMEOUT=1", "SIDEKIQ_COMMAND="+s.Script("hung", "trap '' TERM\nwhile :; do sleep 1; done\n"))
	a.wants(100, "begin")
	a.wants(100, "start", "-v")
	a.wants(0, "start")
	a.env = append(a.env, "SIDEKIQ_TIMEOUT=100")
	a.stop()
}

// Root in the folder of another user becomes that user before it writes or starts anything; so it does where another user
// owns tmp and log alone, and could have root's supervisor start anything.
func TestRootInTheAppOfAnOrdinaryUser(t *testing.T) {
	s := newSandbox(t)
	s.NeedRoot()
	a := s.background()
	s.Must("chmod", "755", s.Dir)
	s.Must("chmod", "777", a.redis.Socket)
	s.Write("ledger", "", 0o666)
	s.Must("cp", testdata("app.rb"), s.Path("shop/app.rb")) // the checkout may be where others cannot read
	s.Must("chown", "-Rh", "nobody", a.dir)
	a.env = append(a.env, "SIDEKIQ_USER=", "SIDEKIQ_COMMAND=sidekiq -c 2 -r ./app.rb")
	for _, owner := range []string{"nobody", "root"} {
		s.Must("chown", owner, a.dir)
		a.wants(0, "start")
		p := a.running("sidekiq")
		if r := s.Wants(0, "find", a.path("tmp"), a.path("log/sidekiq.log"), "-user", "root"); r.Stdout != "" {
			s.Errorf("root's: %s", r.Stdout)
		}
		for _, q := range append(a.left(), p) {
			if owner := s.Run("stat", "-c", "%U", fmt.Sprintf("/proc/%d", q.PID)); owner.Stdout == "root\n" {
				s.Errorf("runs as root: %v", q)
			}
		}
		a.stop()
	}

	s.Must("chown", "root", a.path("tmp"), a.path("tmp/pids"), a.path("log"))
	s.Must("chmod", "777", a.path("tmp/pids"))
	if r := a.wants(111, "start"); !strings.Contains(r.Stderr, "tmp/pids: others than root can write to it") {
		s.Errorf("others could have root start anything: %s", r.Stderr)
	}
	a.nothingLeft()
}

// In the foreground it becomes Sidekiq, and start does not start a second one beside it.
func TestBackgroundJobsInTheForeground(t *testing.T) {
	s := newSandbox(t)
	a := s.background()
	c := s.Start(a.call("start_foreground"))
	p := a.running("sidekiq")
	if p.PID != c.PID {
		s.Errorf("Sidekiq is %v, want %v itself", p, c.Process)
	}
	if r := a.wants(1, "start"); !strings.Contains(r.Stderr, p.ID()) {
		s.Errorf("start does not say what runs: %s", r.Stderr)
	}
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-c.Done
}
