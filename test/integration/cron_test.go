package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cron makes one check with memory-killer -1, as cron does: without a terminal, and each line would be mailed.
func (s *sandbox) cron(env []string, target string) (code int, events []harness.Event) {
	s.Helper()
	c := s.Command("memory-killer", "-1", target)
	c.Env = append(append(c.Env, "SIDEKIQ_TIMEOUT=1", "QUIET_SIGNAL=", "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=0"), env...)
	r := s.RunCommand(c)
	if r.Stdout != "" {
		s.Errorf("stdout: %s", r.Stdout)
	}
	for line := range strings.Lines(r.Stderr) {
		events = append(events, harness.ParseEvent(strings.TrimSpace(line)))
	}
	return r.Code, events
}

// mails are the names of the events that cron would mail.
func mails(events []harness.Event) (names string) {
	for _, e := range events {
		if e.Name == "" {
			e.Name = e.Line
		}
		names += e.Name + " "
	}
	return strings.TrimSpace(names)
}

// Where no file is named, each target has one of its own, also if the name of its pidfile has a space.
func TestCronStateOfAPidfile(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.NeedRoot()
	b := s.Start(s.Command("sleep", "1000"))
	pidfile := s.Write("pid file", fmt.Sprintln(b.PID), 0o644)
	state := "/run/gracekit/" + strings.NewReplacer("/", "_", " ", "_").Replace(pidfile) + ".state"
	s.Cleanup(func() { os.Remove(state); os.Remove(state + ".lock") }) // not /run/gracekit: another may be about to write there
	env := []string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=1000"}
	if code, events := s.cron(env, pidfile); code != 0 || mails(events) != "over-soft" {
		s.Errorf("exit %d, mail %q", code, mails(events))
	}
	if _, err := os.Stat(state); err != nil {
		s.Error(err)
	}
	if code, events := s.cron(env, pidfile); code != 0 || len(events) != 0 {
		s.Errorf("exit %d, mail %q; want silence", code, mails(events))
	}
}

// A service is restarted too, and its state is in supervise/. Without a limit that is logged, and the check ends.
func TestCronOfAService(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() harness.Service) {
		s.Write("svc/run", "#!/bin/sh\nexec pgexec sleep 1000\n", 0o755)
		v := start()
		old := v.Running()
		limits := []string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0"}
		if code, events := s.cron(nil, dir); code != 0 || mails(events) != "disabled" {
			s.Errorf("without limits: exit %d, mail %q", code, mails(events))
		}
		code, events := s.cron(limits, dir)
		if code != 0 || !strings.HasPrefix(mails(events), "over-soft grace-over restart-begin ") {
			s.Errorf("exit %d, mail %q", code, mails(events))
		}
		v.Running(old)
		if files, _ := filepath.Glob(dir + "/supervise/gracewatch*"); len(files) == 0 {
			s.Error("no state in supervise")
		}
		v.Down()
		s.Eventually("down", func() bool { return s.Run("svpid", dir).Code == 1 })
		if code, events := s.cron(limits, dir); code != 1 || len(events) != 0 {
			s.Errorf("down: exit %d, mail %q; want 1, and silence", code, mails(events))
		}
	})
}
