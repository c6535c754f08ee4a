package integration

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// An ordinary user can do with processes what the kernel allows, and is told no in one line where it doesn't.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	s := newSandbox(t)
	if err := os.Chmod(s.dir, 0o755); err != nil {
		s.Fatal(err)
	}
	asNobody := func(name string, args ...string) *exec.Cmd {
		c := s.command(name, args...)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return c
	}
	wants := func(code int, name string, args ...string) {
		t.Helper()
		r := s.runCommand(asNobody(name, args...))
		if r.code != code {
			s.Errorf("%s %v: exit %d, want %d\nstdout: %sstderr: %s", name, args, r.code, code, r.stdout, r.stderr)
		}
	}

	// its own process
	own := asNobody("sleep", "1000")
	if err := own.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { own.Wait(); close(ended) }()
	t.Cleanup(func() { own.Process.Kill(); <-ended })
	pid := fmt.Sprint(own.Process.Pid)
	wants(0, "svpid", pid)
	wants(0, "rssprobe", pid)

	// somebody else's
	s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	v := s.runsv(s.path("svc"))
	theirs := v.running()
	pidfile := s.write("pidfile", fmt.Sprintln(theirs.pid), 0o644)
	for _, target := range []string{theirs.id(), pidfile} {
		wants(0, "svpid", target)
		wants(0, "rssprobe", target)
		wants(111, "pgsignal", "-p", target, "TERM/1/KILL")
	}
	wants(111, "svpid", v.dir) // supervise is 0700
	if !theirs.alive() {
		s.Error("signalled")
	}

	wants(0, "pgsignal", pid, "TERM/20/KILL/5")
}
