package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gracekit/test/harness"
)

// A process that got the pid of the target is never signalled and never watched.
func TestRecycledPidIsNotTheProcess(t *testing.T) {
	t.Parallel()
	if !inPidNamespace(t) {
		return
	}
	s := newSandbox(t)
	meant := s.Start(s.Command("sleep", "1000"))
	pidfile := s.Write("pidfile", fmt.Sprintln(meant.PID), 0o644)
	aged := time.Now().Add(-time.Second)
	s.Check(os.Chtimes(pidfile, aged, aged))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	s.Check(err)
	identity := s.Write("pgid", meant.ID()+"\n"+string(boot), 0o644) // as pgexec -f writes it
	meant.Kill()
	<-meant.Done

	// The newcomer has its pid and leads a group of its own.
	s.waitATick()
	newcomer := s.recycle(meant.PID, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
	members := s.groupOf(newcomer, 3)
	if newcomer.ID() == meant.ID() {
		s.Fatalf("the same identity twice: %s", newcomer.ID())
	}

	for _, target := range []string{meant.ID(), pidfile, identity} {
		s.Wants(1, "svpid", target)
		s.Wants(1, "rssprobe", target)
		s.Wants(0, "pgsignal", target, "TERM/1/KILL")
		s.Wants(0, "pgsignal", "-p", target, "KILL")
		s.Wants(0, "pgsignal", target, "KILL@tree")
		s.Wants(1, "gracewatch", "-s", "1", "-g", "0", "-i", "10ms", target, "touch", s.Path("restarted"))
	}
	for _, p := range members {
		if !p.Alive() {
			s.Errorf("signalled, though it only has the pid: %v", p)
		}
	}
	if _, err := os.Stat(s.Path("restarted")); err == nil {
		s.Error("gracewatch restarted a process that only has the pid")
	}
	s.Wants(0, "svpid", newcomer.ID())
}

// inPidNamespace runs the calling test again in a pid namespace of its own, and is true there.
// Where pid namespaces are not allowed the test is skipped.
func inPidNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(harness.Role) == rolePidns {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("300"), 0); err != nil {
			t.Skip("pids cannot be chosen here: ", err)
		}
		return true
	}
	if out, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no pid namespaces here: %s", out)
	}
	again := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), harness.Role+"="+rolePidns)
	out, err := again.CombinedOutput()
	text := string(out)
	if strings.Contains(text, "--- SKIP") {
		t.Skip(text)
	}
	if err != nil {
		t.Errorf("in the pid namespace: %v\n%s", err, text)
	}
	return false
}

// recycle starts commands until one gets the given pid.
func (s *sandbox) recycle(pid int, command ...string) harness.Process {
	s.Helper()
	for range 200 { // a thread of this process may take the pid in between
		s.Check(os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, pid-1), 0))
		c := s.Command(command[0], command[1:]...)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		s.Check(c.Start())
		if c.Process.Pid == pid {
			p, _ := harness.FindProcess(pid)
			s.Cleanup(func() { c.Process.Kill(); c.Wait() })
			return p
		}
		c.Process.Kill()
		c.Wait()
	}
	s.Fatalf("no process got pid %d", pid)
	return harness.Process{}
}
