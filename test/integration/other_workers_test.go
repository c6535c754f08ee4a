package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os/exec"
	"strings"
	"testing"
)

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
		s.Errorf("rssprobe prints that Sidekiq has %q MB, want at least 10", mb)
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
