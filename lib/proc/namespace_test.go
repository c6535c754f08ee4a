package proc

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// checkNames fails unless the process has that pid in its own pid namespace, and that name for its host.
func checkNames(t *testing.T, p *Process, pid int, host string) {
	t.Helper()
	if inner, err := p.InnerPID(); inner != pid || err != nil {
		t.Errorf("inner pid %d, %v; want %d", inner, err, pid)
	}
	for range 100 { // in whatever thread
		if name, err := p.Hostname(); name != host || err != nil {
			t.Fatalf("hostname %q, %v; want %q", name, err, host)
		}
	}
}

func TestAProcessKnowsItselfByItsInnerPIDAndHostname(t *testing.T) {
	host, err := os.Hostname()
	check(t, err)
	checkNames(t, open(t, os.Getpid()), os.Getpid(), host)

	cmd := exec.Command("sh", "-c", "hostname inner.example && echo ready && exec sleep 600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err = startUntilReady(t, cmd)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		t.Skipf("no namespaces can be made here: %v", err)
	}
	check(t, err)
	inner := open(t, cmd.Process.Pid)
	checkNames(t, inner, 1, "inner.example")
	if inner.Ended() { // its parent, for the kernel, is the thread that started it
		t.Error("a thread that ended took it along")
	}
	if again, err := os.Hostname(); again != host || err != nil {
		t.Errorf("our own hostname is %q since, %v", again, err)
	}
}

func TestAProcessThatEndedHasNoNames(t *testing.T) {
	cmd := start(t, "echo ready; exec sleep 600")
	p := open(t, cmd.Process.Pid)
	cmd.Process.Kill()
	_, err := Poll([]unix.PollFd{p.PollFd()}, time.Minute)
	check(t, err)
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

func TestProcOfAnotherNamespaceIsRefused(t *testing.T) {
	check(t, checkOwnProc("/proc/self", os.Getpid()))
	if err := checkOwnProc("/proc/self", os.Getpid()+1); err == nil || !strings.Contains(err.Error(), "of another pid namespace") {
		t.Errorf("%v", err)
	}
	if err := checkOwnProc("/proc/nothing", os.Getpid()); err == nil || !strings.Contains(err.Error(), "is /proc mounted?") {
		t.Errorf("%v", err)
	}
}
