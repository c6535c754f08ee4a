package integration

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// killerAsDocumented watches a service of runsv by memory-killer with the settings of a block of docs/other-workers.md that
// has a word, but with a limit and times for a test.
func (s *sandbox) killerAsDocumented(word, target string, soft int) *gracewatch {
	s.Helper()
	c := s.command("memory-killer", "-t", target)
	c.Env = append(c.Env, strings.Split(strings.TrimSpace(s.block("docs/other-workers.md", word)), "\n")...)
	c.Env = append(c.Env, fmt.Sprintf("MEMORY_KILLER_MAX_RSS=%d", soft), "MEMORY_KILLER_GRACE_TIME=0.3", "MEMORY_KILLER_CHECK_INTERVAL=100ms")
	return s.watchedBy(c)
}

// titled are the children of a process whose title begins with a text.
func titled(parent process, prefix string) (found []process) {
	for _, p := range processes() {
		if p.ppid == parent.pid && strings.HasPrefix(title(p), prefix) {
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
	s.write("puma/run", "#!/bin/sh\nexec 2>&1\nexec puma "+strings.Join(p.arguments(), " ")+"\n", 0o755)
	v := s.runsv(s.path("puma"), p.env...)
	master := v.running()
	first := p.hasWorkers(master)
	w := s.killerAsDocumented("puma: cluster worker", v.dir, s.kb(first[0])+40*1024)
	w.event("target-up", pumaWorkers)
	load := p.crowd()
	p.leak(first[1])
	w.event("restart-done", 1)
	for _, worker := range p.hasWorkers(master) {
		load.answers(s, worker)
	}
	load.check(s)
	if !master.alive() || !first[0].alive() || !first[2].alive() || first[1].alive() {
		s.Errorf("not that worker alone was restarted: master %t, workers %t %t %t", master.alive(), first[0].alive(), first[1].alive(), first[2].alive())
	}
}

// A phased restart, by the command of docs/other-workers.md, replaces all workers and keeps the parent.
func TestPumaInPlaceAsDocumented(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.puma("0")
	s.write("puma/run", "#!/bin/sh\nexec 2>&1\nexec puma "+strings.Join(p.arguments(), " ")+"\n", 0o755)
	v := s.runsv(s.path("puma"), p.env...)
	master := v.running()
	first := p.hasWorkers(master)
	size := s.kb(master)
	for _, worker := range first {
		size += s.kb(worker)
	}
	command := strings.TrimSpace(s.block("docs/other-workers.md", "--in-place"))
	command = strings.Replace(command, "/etc/service/puma", v.dir, 1)
	command = strings.Replace(command, "-s 2G", fmt.Sprintf("-s %d -g 0.3 -i 100ms", size+45*1024), 1)
	w := s.watchedBy(s.command("sh", "-c", "exec "+command))
	w.event("watching", 1)
	p.leak(first[0])
	w.event("restart-done", 1)
	s.waitFor("all workers are new", func() bool {
		now := p.workers(master)
		for _, worker := range now {
			for _, old := range first {
				if worker.id() == old.id() {
					return false
				}
			}
		}
		return len(now) == pumaWorkers
	})
	if !master.alive() {
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
	s.need("unicorn")
	p := &puma{s, s.path("socket"), []string{"PUMA_SOCKET=" + s.path("socket")}}
	s.write("unicorn/run", "#!/bin/sh\nexec 2>&1\nexec unicorn -E none -c "+s.testdata("unicorn.rb")+" "+s.testdata("puma.ru")+"\n", 0o755)
	v := s.runsv(s.path("unicorn"), p.env...)
	master := v.running()
	workers := func() []process { return titled(master, "unicorn worker") }
	s.waitFor("unicorn has its workers", func() bool { return len(workers()) == 2 })
	first := workers()
	s.waitFor("unicorn answers", func() bool { _, err := p.get("/"); return err == nil })
	w := s.killerAsDocumented("STOP_SIGNAL=QUIT", v.dir, s.kb(first[0])+45*1024)
	w.event("target-up", 2)
	load := p.crowd()
	p.leak(first[0])
	w.event("restart-done", 1)
	s.waitFor("it is replaced", func() bool { now := workers(); return len(now) == 2 && !first[0].alive() })
	for _, worker := range workers() {
		load.answers(s, worker)
	}
	load.check(s)
	if !master.alive() || !first[1].alive() {
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
	s.make("broker")
	ledger := ledger{s, s.path("ledger")}
	app := s.testdata("celery_app.py")
	env := []string{"BROKER_FOLDER=" + s.path("broker"), "LEDGER=" + ledger.file, "PYTHONPATH=" + strings.TrimSuffix(app, "/celery_app.py"),
		"PYTHONDONTWRITEBYTECODE=1", "C_FORCE_ROOT=1"}
	s.write("celery/run", "#!/bin/sh\nexec 2>&1\nexec pgexec -s -f supervise/pgid "+python+" -m celery -A celery_app worker -c 1 --without-mingle --without-gossip\n", 0o755)
	v := s.runsv(s.path("celery"), env...)
	number := 0
	push := func(megabytes int, seconds float64) {
		s.Helper()
		number++
		c := s.command(python, "-c", fmt.Sprintf("import celery_app; celery_app.leak.delay(%d, %d, %g)", number, megabytes, seconds))
		c.Env = append(c.Env, env...)
		if r := s.runCommand(c); r.code != 0 {
			s.Fatal(r.stderr)
		}
	}
	push(1, 0)
	s.waitFor("Celery works", func() bool { return ledger.count("done") == 1 })
	old := v.running()
	size := s.kb(old)
	for _, child := range titled(old, "") {
		size += s.kb(child)
	}
	w := s.killerAsDocumented("SIDEKIQ_TIMEOUT=300\n", v.dir, size+100*1024)
	w.event("watching", 1)
	push(200, 4) // still runs when the restart begins
	push(1, 0)
	w.event("restart-done", 1)
	if done := len(ledger.of("2", "done")); done != 1 {
		s.Errorf("the task that ran at the restart was done %d times before its worker exited, want once", done)
	}
	v.running(old)
	s.waitFor("the task that waited is done", func() bool { return ledger.count("done") == 3 })
	ledger.exactlyOnce([]string{"1", "2", "3"})
}

// Pattern 1 of docs/setup/kubernetes.md: tini is pid 1, memory-killer stands before Sidekiq. The container ends with a Sidekiq
// that has finished its jobs, and what the page runs inside works.
func TestTiniAsPid1(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	for _, name := range []string{"sidekiq", "tini", "nsenter"} {
		s.need(name)
	}
	if out, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no pid namespaces here: %s", out)
	}
	redis := s.redis()
	ledger := ledger{s, s.path("ledger")}
	c := s.command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"tini", "--", "memory-killer", "sidekiq", "-c", "2", "-t", "3", "-r", s.app())
	c.Env = append(c.Env, "REDIS_URL="+redis.url(), "LEDGER="+ledger.file, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=250M",
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0.5", "SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=200ms")
	w := s.watchedBy(c)
	inside := func(command ...string) result {
		s.Helper()
		tini := titled(w.process, "tini")
		if len(tini) != 1 {
			s.Fatalf("%d processes tini", len(tini))
		}
		c := s.command("nsenter", append([]string{"--target", fmt.Sprint(tini[0].pid), "--pid", "--mount", "--"}, command...)...)
		c.Env = append(c.Env, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=250M")
		return s.runCommand(c)
	}
	jids := redis.enqueue(1, "LeakJob", 1, 0)
	s.waitFor("a job is done", func() bool { return ledger.count("done") == 1 })
	for _, command := range [][]string{
		{"memory-killer", "--check"},
		{"rssprobe", "-q", "-S", "sidekiq", "-l", "95%", "1"}, // the page's liveness probe
	} {
		if r := inside(command...); r.code != 0 {
			s.Errorf("%v: exit %d: %s%s", command, r.code, r.stdout, r.stderr)
		}
	}
	if mb := strings.TrimSpace(inside("rssprobe", "-m", "-S", "sidekiq", "1").stdout); len(mb) < 2 {
		s.Errorf("rssprobe says that Sidekiq has %q MB, want at least 10", mb)
	}
	if text := w.String(); strings.Contains(text, "pid 1") {
		s.Errorf("a warning of pid 1 below tini:\n%s", text)
	}
	jids = append(jids, redis.enqueue(1, "LeakJob", 300, 4)...)
	s.waitFor("the container has ended", func() bool { return !w.alive() })
	<-w.gone
	if w.code != 0 {
		s.Errorf("the container exits %d, want 0", w.code)
	}
	ledger.exactlyOnce(jids)
	w.event("restart-begin", 1)
}
