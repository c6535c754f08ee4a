package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// A worker of Celery or Delayed Job that is over the limit, with its tree, ends its running job, is started again by its
// supervisor, and each job is run once.
func TestOtherWorkersWithTheDocumentedSettings(t *testing.T) {
	t.Parallel()
	const python, ruby = "/usr/bin/python3", "/usr/bin/ruby" // Debian's, which have Debian's packages
	delayedJob := testdata("delayed_job.rb")
	for name, c := range map[string]struct {
		check    []string // works where it is installed
		packages string
		settings string   // a word of those in docs/other-workers.md
		folder   string   // that is made
		run      string   // the command of the service
		push     []string // number, megabytes and seconds of a job follow
	}{
		"Celery": {[]string{python, "-c", "import celery"}, "python3-celery", "SIDEKIQ_TIMEOUT=300\n", "broker",
			python + " -m celery -A celery_app worker -c 1 --without-mingle --without-gossip",
			[]string{python, "-c", "import sys, celery_app; celery_app.leak.delay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))"}},
		"Delayed Job": {[]string{ruby, "-e", "require 'active_record'; require 'delayed_job_active_record'; require 'sqlite3'"},
			"ruby-delayed-job-active-record and ruby-sqlite3", "SIDEKIQ_TIMEOUT=900\n", "",
			ruby + " " + delayedJob + " work", []string{ruby, delayedJob, "push"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			if exec.Command(c.check[0], c.check[1:]...).Run() != nil {
				s.Skipf("%s is not installed: it is in Debian's %s", name, c.packages)
			}
			s.Mkdir(c.folder)
			ledger := ledger{s}
			env := []string{ledger.variable(), "DATABASE=" + s.Path("jobs.db"), "BROKER_FOLDER=" + s.Path("broker"),
				"PYTHONPATH=" + filepath.Dir(delayedJob), "PYTHONDONTWRITEBYTECODE=1", "C_FORCE_ROOT=1"}
			push := func(job ...string) {
				t.Helper()
				s.Wants(0, "env", slices.Concat(env, c.push, job)...)
			}
			push("1", "1", "0")
			s.Script("svc/run", "exec 2>&1\nexec pgexec -s -f supervise/pgid "+c.run+"\n")
			v := s.Runsv(s.Path("svc"), env...)
			ledger.await("done", 1)
			old := v.Running()
			size := s.KB(old)
			for _, child := range children(old, "") {
				size += s.KB(child)
			}
			w := s.killerAsDocumented(c.settings, v.Dir, size+100*1024)
			w.Event("watching", 1)
			push("2", "200", "6") // still runs when the restart begins
			push("3", "1", "0")
			w.Event("restart-done", 1)
			if len(ledger.lines("done 2")) != 1 {
				s.Error("the job that ran at the restart was not done before its worker exited")
			}
			v.Running(old)
			ledger.await("done", 3)
			ledger.exactlyOnce("1", "2", "3")
		})
	}
}

// Pattern 1 of docs/setup/kubernetes.md: tini is pid 1, memory-killer stands before Sidekiq. The container ends with a Sidekiq
// that has finished its jobs, and what the page runs inside works. Without tini, memory-killer warns: pid 1 is never signalled.
func TestTiniAsPid1(t *testing.T) {
	s := newSandbox(t)
	container := []string{"--pid", "--fork", "--kill-child", "--mount-proc"}
	s.NeedThat("unshare", append(container, "true")...)
	s.Need("tini")
	const warning = "memory-killer: warning: this is pid 1"
	if r := s.Wants(0, "unshare", append(container, "memory-killer", "true")...); !strings.Contains(r.Stderr, warning) {
		s.Errorf("no warning: %s", r.Stderr)
	}
	j := s.jobs()
	settings := []string{"SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=250M", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0.5",
		"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=200ms"}
	w := s.Watch(s.Command("env", slices.Concat(j.environment(), settings, []string{"unshare"}, container,
		[]string{"tini", "--", "memory-killer", "sidekiq", "-c", "2", "-t", "3", "-r", testdata("app.rb")})...))
	j.enqueue(1, "LeakJob", 1, 0)
	j.await("done", 1)
	inside := func(command ...string) harness.Result {
		t.Helper()
		enter := append(settings, "nsenter", "--target", fmt.Sprint(children(w.Process, "tini")[0].PID), "--pid", "--mount", "--")
		return s.Wants(0, "env", append(enter, command...)...)
	}
	inside("memory-killer", "--check")
	inside("rssprobe", "-q", "-S", "sidekiq", "-l", "95%", "1") // the page's liveness probe
	if mb := strings.TrimSpace(inside("rssprobe", "-m", "-S", "sidekiq", "1").Stdout); len(mb) < 2 {
		s.Errorf("rssprobe prints that Sidekiq has %q MB, want at least 10", mb)
	}
	j.enqueue(1, "LeakJob", 300, 4)
	s.Exits(w.Child, 0) // and the container with it
	j.allDone()
	w.Event("restart-begin", 1)
	w.WantLines(warning, 0)
}
