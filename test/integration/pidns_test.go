package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

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
