package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os/exec"
	"strings"
	"testing"
)

// killerAsDocumented watches a service of runsv by memory-killer with the settings of a block of docs/other-workers.md that
// has a word, but with a limit and times for a test.
func (s *sandbox) killerAsDocumented(word, target string, soft int) *harness.Log {
	s.Helper()
	c := s.Command("memory-killer", "-t", target)
	c.Env = append(c.Env, strings.Split(strings.TrimSpace(s.block("docs/other-workers.md", word)), "\n")...)
	c.Env = append(c.Env, fmt.Sprintf("MEMORY_KILLER_MAX_RSS=%d", soft), "MEMORY_KILLER_GRACE_TIME=0.3", "MEMORY_KILLER_CHECK_INTERVAL=100ms")
	return s.Watch(c)
}

// titled are the children of a process whose title begins with a text.
func titled(parent harness.Process, prefix string) (found []harness.Process) {
	for _, p := range harness.Processes() {
		if p.PPID == parent.PID && strings.HasPrefix(p.Title(), prefix) {
			found = append(found, p)
		}
	}
	return found
}

// One worker of Puma that leaks is restarted by memory-killer, the others and the parent go on, and no request fails.
func TestPumaWithTheDocumentedSettings(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.puma("0")
	s.Write("puma/run", "#!/bin/sh\nexec 2>&1\nexec puma "+strings.Join(p.arguments(), " ")+"\n", 0o755)
	v := s.Runsv(s.Path("puma"), p.env...)
	master := v.Running()
	first := p.hasWorkers(master)
	w := s.killerAsDocumented("puma: cluster worker", v.Dir, s.KB(first[0])+40*1024)
	w.Event("target-up", pumaWorkers)
	load := p.crowd()
	p.leak(first[1])
	w.Event("restart-done", 1)
	for _, worker := range p.hasWorkers(master) {
		load.answers(s, worker)
	}
	load.check(s)
	if !master.Alive() || !first[0].Alive() || !first[2].Alive() || first[1].Alive() {
		s.Errorf("not that worker alone was restarted: master %t, workers %t %t %t", master.Alive(), first[0].Alive(), first[1].Alive(), first[2].Alive())
	}
}

// A phased restart, by the command of docs/other-workers.md, replaces all workers and keeps the parent.
func TestPumaInPlaceAsDocumented(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.puma("0")
	s.Write("puma/run", "#!/bin/sh\nexec 2>&1\nexec puma "+strings.Join(p.arguments(), " ")+"\n", 0o755)
	v := s.Runsv(s.Path("puma"), p.env...)
	master := v.Running()
	first := p.hasWorkers(master)
	size := s.KB(master)
	for _, worker := range first {
		size += s.KB(worker)
	}
	command := strings.TrimSpace(s.block("docs/other-workers.md", "--in-place"))
	command = strings.Replace(command, "/etc/service/puma", v.Dir, 1)
	command = strings.Replace(command, "-s 2G", fmt.Sprintf("-s %d -g 0.3 -i 100ms", size+45*1024), 1)
	w := s.Watch(s.Command("sh", "-c", "exec "+command))
	w.Event("watching", 1)
	p.leak(first[0])
	w.Event("restart-done", 1)
	s.Eventually("all workers are new", func() bool {
		now := p.workers(master)
		for _, worker := range now {
			for _, old := range first {
				if worker.ID() == old.ID() {
					return false
				}
			}
		}
		return len(now) == pumaWorkers
	})
	if !master.Alive() {
		s.Error("the parent has exited")
	}
	if text := w.String(); strings.Contains(text, "restart-failed") {
		s.Error("a restart failed")
	}
}

// One worker of unicorn that leaks gets QUIT and answers its request; the master goes on and starts another.
func TestUnicornWithTheDocumentedSettings(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.Need("unicorn")
	p := &puma{s, s.Path("socket"), []string{"PUMA_SOCKET=" + s.Path("socket")}}
	s.Write("unicorn/run", "#!/bin/sh\nexec 2>&1\nexec unicorn -E none -c "+s.testdata("unicorn.rb")+" "+s.testdata("puma.ru")+"\n", 0o755)
	v := s.Runsv(s.Path("unicorn"), p.env...)
	master := v.Running()
	workers := func() []harness.Process { return titled(master, "unicorn worker") }
	s.Eventually("unicorn has its workers", func() bool { return len(workers()) == 2 })
	first := workers()
	s.Eventually("unicorn answers", func() bool { _, err := p.get("/"); return err == nil })
	w := s.killerAsDocumented("STOP_SIGNAL=QUIT", v.Dir, s.KB(first[0])+45*1024)
	w.Event("target-up", 2)
	load := p.crowd()
	p.leak(first[0])
	w.Event("restart-done", 1)
	s.Eventually("it is replaced", func() bool { now := workers(); return len(now) == 2 && !first[0].Alive() })
	for _, worker := range workers() {
		load.answers(s, worker)
	}
	load.check(s)
	if !master.Alive() || !first[1].Alive() {
		s.Error("not that worker alone was restarted")
	}
	if text := w.String(); !strings.Contains(text, "QUIT") {
		s.Errorf("no QUIT in what graceful-restart wrote:\n%s", text)
	}
}

// Celery whose tree is over the limit ends its running task, is started again by its supervisor, and each task is run once.
func TestCeleryWithTheDocumentedSettings(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const python = "/usr/bin/python3" // Debian's, which has Debian's Celery
	if exec.Command(python, "-c", "import celery").Run() != nil {
		s.Skip("Celery is not installed: it is in Debian's package python3-celery")
	}
	s.Mkdir("broker")
	ledger := ledger{s, s.Path("ledger")}
	app := s.testdata("celery_app.py")
	env := []string{"BROKER_FOLDER=" + s.Path("broker"), "LEDGER=" + ledger.file, "PYTHONPATH=" + strings.TrimSuffix(app, "/celery_app.py"),
		"PYTHONDONTWRITEBYTECODE=1", "C_FORCE_ROOT=1"}
	s.Write("celery/run", "#!/bin/sh\nexec 2>&1\nexec pgexec -s -f supervise/pgid "+python+" -m celery -A celery_app worker -c 1 --without-mingle --without-gossip\n", 0o755)
	v := s.Runsv(s.Path("celery"), env...)
	number := 0
	push := func(megabytes int, seconds float64) {
		s.Helper()
		number++
		c := s.Command(python, "-c", fmt.Sprintf("import celery_app; celery_app.leak.delay(%d, %d, %g)", number, megabytes, seconds))
		c.Env = append(c.Env, env...)
		if r := s.RunCommand(c); r.Code != 0 {
			s.Fatal(r.Stderr)
		}
	}
	push(1, 0)
	s.Eventually("Celery works", func() bool { return ledger.count("done") == 1 })
	old := v.Running()
	size := s.KB(old)
	for _, child := range titled(old, "") {
		size += s.KB(child)
	}
	w := s.killerAsDocumented("SIDEKIQ_TIMEOUT=300\n", v.Dir, size+100*1024)
	w.Event("watching", 1)
	push(200, 4) // still runs when the restart begins
	push(1, 0)
	w.Event("restart-done", 1)
	if done := len(ledger.of("2", "done")); done != 1 {
		s.Errorf("the task that ran at the restart was done %d times before its worker exited, want once", done)
	}
	v.Running(old)
	s.Eventually("the task that waited is done", func() bool { return ledger.count("done") == 3 })
	ledger.exactlyOnce([]string{"1", "2", "3"})
}

// Pattern 1 of docs/setup/kubernetes.md: tini is pid 1, memory-killer stands before Sidekiq. The container ends with a Sidekiq
// that has finished its jobs, and what the page runs inside works.
func TestTiniAsPid1(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	for _, name := range []string{"sidekiq", "tini", "nsenter"} {
		s.Need(name)
	}
	if out, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no pid namespaces here: %s", out)
	}
	redis := s.Redis()
	ledger := ledger{s, s.Path("ledger")}
	c := s.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"tini", "--", "memory-killer", "sidekiq", "-c", "2", "-t", "3", "-r", s.app())
	c.Env = append(c.Env, "REDIS_URL="+redis.URL(), "LEDGER="+ledger.file, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=250M",
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0.5", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=200ms")
	w := s.Watch(c)
	inside := func(command ...string) harness.Result {
		s.Helper()
		tini := titled(w.Process, "tini")
		if len(tini) != 1 {
			s.Fatalf("%d processes tini", len(tini))
		}
		c := s.Command("nsenter", append([]string{"--target", fmt.Sprint(tini[0].PID), "--pid", "--mount", "--"}, command...)...)
		c.Env = append(c.Env, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=250M")
		return s.RunCommand(c)
	}
	jids := redis.Enqueue(1, "LeakJob", 1, 0)
	s.Eventually("a job is done", func() bool { return ledger.count("done") == 1 })
	for _, command := range [][]string{
		{"memory-killer", "--check"},
		{"rssprobe", "-q", "-S", "sidekiq", "-l", "95%", "1"}, // the page's liveness probe
	} {
		if r := inside(command...); r.Code != 0 {
			s.Errorf("%v: exit %d: %s%s", command, r.Code, r.Stdout, r.Stderr)
		}
	}
	if mb := strings.TrimSpace(inside("rssprobe", "-m", "-S", "sidekiq", "1").Stdout); len(mb) < 2 {
		s.Errorf("rssprobe says that Sidekiq has %q MB, want at least 10", mb)
	}
	if text := w.String(); strings.Contains(text, "pid 1") {
		s.Errorf("a warning of pid 1 below tini:\n%s", text)
	}
	jids = append(jids, redis.Enqueue(1, "LeakJob", 300, 4)...)
	s.Eventually("the container has ended", func() bool { return !w.Alive() })
	<-w.Done
	if w.Code != 0 {
		s.Errorf("the container exits %d, want 0", w.Code)
	}
	ledger.exactlyOnce(jids)
	w.Event("restart-begin", 1)
}
