package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// An ordinary user can do with processes what the kernel allows, and is refused in one line where it does not.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.NeedRoot()
	s.Check(os.Chmod(s.Dir, 0o755))
	asNobody := func(name string, args ...string) *exec.Cmd {
		c := s.Command(name, args...)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: harness.Nobody, Gid: harness.Nobody}}
		return c
	}
	wants := func(code int, name string, args ...string) {
		t.Helper()
		r := s.RunCommand(asNobody(name, args...))
		if r.Code != code {
			s.Errorf("%s %v: exit %d, want %d\nstdout: %sstderr: %s", name, args, r.Code, code, r.Stdout, r.Stderr)
		}
	}

	// its own process
	pid := fmt.Sprint(s.Start(asNobody("sleep", "1000")).PID)
	wants(0, "svpid", pid)
	wants(0, "rssprobe", pid)

	// somebody else's
	s.Write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	v := s.Runsv(s.Path("svc"))
	theirs := v.Running()
	pidfile := s.Write("pidfile", fmt.Sprintln(theirs.PID), 0o644)
	for _, target := range []string{theirs.ID(), pidfile} {
		wants(0, "svpid", target)
		wants(0, "rssprobe", target)
		wants(111, "pgsignal", "-p", target, "TERM/1/KILL")
	}
	wants(111, "svpid", v.Dir) // supervise is 0700
	if !theirs.Alive() {
		s.Error("signalled")
	}

	wants(0, "pgsignal", pid, "TERM/120")
}
