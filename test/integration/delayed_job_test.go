package integration

import (
	"testing"
)

// A worker of Delayed Job that is over the limit ends its running job, is started again by its supervisor, and each job is
// run once.
func TestDelayedJobWithTheDocumentedSettings(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const ruby = "/usr/bin/ruby" // Debian's, which has Debian's Delayed Job
	if c := s.Command(ruby, "-e", "require 'active_record'; require 'delayed_job_active_record'; require 'sqlite3'"); c.Run() != nil {
		s.Skip("Delayed Job is not installed: it is in Debian's packages ruby-delayed-job-active-record and ruby-sqlite3")
	}
	ledger := ledger{s, s.Path("ledger")}
	env := []string{"DATABASE=" + s.Path("jobs.db"), "LEDGER=" + ledger.file}
	script := s.testdata("delayed_job.rb")
	push := func(number, megabytes, seconds string) {
		s.Helper()
		c := s.Command(ruby, script, "push", number, megabytes, seconds)
		c.Env = append(c.Env, env...)
		if r := s.RunCommand(c); r.Code != 0 {
			s.Fatal(r.Stderr)
		}
	}
	push("1", "1", "0")
	s.Write("jobs/run", "#!/bin/sh\nexec 2>&1\nexec pgexec -s -f supervise/pgid "+ruby+" "+script+" work\n", 0o755)
	v := s.Runsv(s.Path("jobs"), env...)
	s.Eventually("Delayed Job works", func() bool { return ledger.count("done") == 1 })
	old := v.Running()
	w := s.killerAsDocumented("SIDEKIQ_TIMEOUT=900\n", v.Dir, s.KB(old)+100*1024)
	w.Event("watching", 1)
	push("2", "200", "6") // still runs when the restart begins
	push("3", "1", "0")
	w.Event("restart-done", 1)
	if done := len(ledger.of("2", "done")); done != 1 {
		s.Errorf("the job that ran at the restart was done %d times before its worker exited, want once", done)
	}
	v.Running(old)
	s.Eventually("the job that waited is done", func() bool { return ledger.count("done") == 3 })
	ledger.exactlyOnce([]string{"1", "2", "3"})
}
