package proc

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespaces starts a process in pid and UTS namespaces of its own, whose host has that name.
func inNamespaces(t *testing.T, host string) *Process {
	t.Helper()
	cmd := exec.Command("sh", "-c", "hostname "+host+" && echo ready && exec sleep 600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		t.Skipf("no namespaces to be had here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	p, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestProcessKnowsItselfByItsInnerPIDAndHostname(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	p := inNamespaces(t, "inner.example")
	if pid, err := p.InnerPID(); pid != 1 || err != nil {
		t.Errorf("inner pid %d, %v", pid, err)
	}
	for range 100 { // in whatever thread
		if host, err := p.Hostname(); host != "inner.example" || err != nil {
			t.Errorf("hostname %q, %v", host, err)
		}
	}
	if host, err := os.Hostname(); host != own || err != nil {
		t.Errorf("our own hostname is %q since, %v", host, err)
	}
	if p.Ended() { // its parent, for the kernel, is the thread that started it
		t.Error("a thread that ended took it along")
	}
}

func TestProcessInOurNamespaces(t *testing.T) {
	p, err := Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if host, err := p.Hostname(); host != own || err != nil {
		t.Errorf("%q, %v; want %q", host, err, own)
	}
	if pid, err := p.InnerPID(); pid != os.Getpid() || err != nil {
		t.Errorf("%d, %v", pid, err)
	}
}

func TestNamespacesOfAProcessThatEnded(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	cmd.Process.Kill()
	if _, err := Poll([]unix.PollFd{p.PollFd()}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Hostname(); !errors.Is(err, ErrGone) {
		t.Errorf("hostname of a zombie: %v", err)
	}
	cmd.Wait()
	if _, err := p.InnerPID(); !errors.Is(err, ErrGone) {
		t.Errorf("inner pid: %v", err)
	}
	if _, err := p.Hostname(); !errors.Is(err, ErrGone) {
		t.Errorf("hostname: %v", err)
	}
}
