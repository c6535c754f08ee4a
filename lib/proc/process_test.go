package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func check(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// start runs a shell script, the leader of a process group of its own, until
// it prints "ready"; what it left is killed at the end of the test.
func start(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	check(t, startUntilReady(t, cmd))
	return cmd
}

func startUntilReady(t *testing.T, cmd *exec.Cmd) error {
	cmd.SysProcAttr.Setpgid = true
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("%q, %w", line, err)
	}
	return nil
}

func open(t *testing.T, pid int) *Process {
	t.Helper()
	p, err := Open(pid)
	check(t, err)
	t.Cleanup(p.Close)
	return p
}

func newScanner(t *testing.T) *Scanner {
	sc := NewScanner()
	t.Cleanup(sc.Close)
	return sc
}

// until waits until cond is true.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestAProcessIsFoundByItsPIDAndByItsIdentityAlone(t *testing.T) {
	p := open(t, os.Getpid())
	again, err := OpenID(p.ID)
	check(t, err)
	again.Close()
	other := p.ID
	other.Start--
	if _, err := OpenID(other); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v", err)
	}
}

func TestAProcessThatIsOnlyAnIDHoldsNothing(t *testing.T) {
	p := &Process{ID: ID{1234, 5678901}}
	if fd := p.PollFd().Fd; fd >= 0 { // ppoll(2) ignores what is negative
		t.Errorf("descriptor %d", fd)
	}
	if err := p.Signal(0); err == nil {
		t.Error("signalled")
	}
	p.Close()
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Errorf("standard input: %v", err)
	}
}

func TestAProcessIsClosedOnce(t *testing.T) {
	p := open(t, os.Getpid())
	p.Close()
	r, w, err := os.Pipe() // gets the descriptors that are free now
	check(t, err)
	defer r.Close()
	p.Close()
	if err := w.Close(); err != nil {
		t.Errorf("the descriptor of somebody else was closed: %v", err)
	}
}

func TestAZombieHasEnded(t *testing.T) {
	cmd := start(t, "echo ready; exec sleep 1000")
	p := open(t, cmd.Process.Pid)
	if p.Ended() {
		t.Fatal("ended before it was killed")
	}
	check(t, p.Signal(unix.SIGKILL))
	if n, err := Poll([]unix.PollFd{p.PollFd()}, time.Minute); n != 1 {
		t.Fatalf("no end: %v", err)
	}
	_, errZombie := Open(cmd.Process.Pid)
	cmd.Wait()
	_, errOpen := Open(cmd.Process.Pid)
	_, errMemory := p.Memory(RSS)
	for what, err := range map[string]error{"a zombie": errZombie, "reaped": errOpen, "its memory": errMemory, "a signal": p.Signal(unix.SIGTERM)} {
		if !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAThreadIsNoProcess(t *testing.T) {
	p := open(t, os.Getpid())
	threads, err := p.Threads()
	if err != nil || len(threads) < 2 {
		t.Fatalf("%v, %v", threads, err)
	}
	for _, thread := range threads {
		if thread.TID == p.ID.PID {
			continue
		}
		if _, err := Open(thread.TID); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "is a thread") {
			t.Errorf("thread %d: %v", thread.TID, err)
		}
	}
}

func TestTheMemoryIsWhatTheKernelSays(t *testing.T) {
	p := open(t, start(t, "sleep 1000 & echo ready; wait").Process.Pid)
	var u Usage
	until(t, "the RSS that ps prints", func() (same bool) { // the shell may still be on its way into wait
		var err error
		u, err = p.Memory(RSS | Anon | Peak | Swap | PSS | USS)
		check(t, err)
		rss, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(p.ID.PID)).Output()
		return err == nil && strconv.FormatInt(u.RSS, 10) == strings.TrimSpace(string(rss))
	})
	if u.Anon <= 0 || u.Anon > u.RSS || u.Peak < u.RSS || u.PSS <= 0 || u.PSS > u.RSS || u.USS <= 0 || u.USS > u.PSS || u.Swap != 0 {
		t.Errorf("%+v", u)
	}
	if sum := (RSS | Swap).Sum(Usage{RSS: 3, Swap: 4, Anon: 5}); sum != 7 {
		t.Errorf("rss+swap is %d", sum)
	}
}

func TestASumTakesTheGroupOrTheTree(t *testing.T) {
	// In the tree but not in the group: one with a session of its own. In the
	// group but not in the tree: one whose parent ended.
	p := open(t, start(t, "sleep 1000 & (sleep 1000 & sleep 1000 &) ; setsid sh -c 'echo ready; exec sleep 1000' & wait").Process.Pid)
	sc := newScanner(t)
	group, err := sc.Group(p.ID.PID)
	if err != nil || len(group) != 4 {
		t.Errorf("group: %+v, %v; want the shell and three sleeps", group, err)
	}
	all, err := sc.All()
	check(t, err)
	tree := TreeOf(all, p.ID)
	if len(tree) != 3 || tree[0].ID() != p.ID {
		t.Errorf("tree: %+v; want the shell and two sleeps", tree)
	}
	for _, s := range tree {
		if s.PGID != p.ID.PID {
			defer syscall.Kill(s.PID, syscall.SIGKILL)
		}
	}
	children, err := sc.Children(p)
	if err != nil || len(children) != 2 {
		t.Errorf("children: %+v, %v; want two sleeps", children, err)
	}
	until(t, "process < tree < group, and a walk of the tree as a scan", func() bool { // some may still be on their way into sleep
		alone, errAlone := sc.Usage(p, ScopeProcess, USS)
		ofGroup, errGroup := sc.Usage(p, ScopeGroup, USS)
		ofTree, errTree := sc.Usage(p, ScopeTree, USS)
		byScan := alone
		errScan := sc.walkByScan(p, func(member *Process, _ Stat) {
			u, _ := member.Memory(USS)
			byScan.add(u)
		})
		check(t, errAlone, errGroup, errTree, errScan)
		return 0 < alone.USS && alone.USS < ofTree.USS && ofTree.USS < ofGroup.USS && byScan.USS == ofTree.USS
	})
}

// A pid can have been given to another process since.
func TestATreeIsThatOfAnIdentityAndNothingStartsBeforeItsParent(t *testing.T) {
	listing := []Stat{
		{PID: 30, PPID: 20, Start: 300},
		{PID: 20, PPID: 10, Start: 200},
		{PID: 10, PPID: 1, Start: 100},
		{PID: 21, PPID: 10, Start: 99},
		{PID: 22, PPID: 10, Start: 200, State: 'Z', Threads: 1},
		{PID: 23, PPID: 10, Start: 200, State: 'Z', Threads: 2}, // only its main thread has ended
	}
	for root, want := range map[ID]string{{10, 100}: "[10 20 23 30]", {10, 99}: "[]", {10, 101}: "[]", {20, 200}: "[20 30]"} {
		pids := []int{}
		for _, s := range TreeOf(slices.Clone(listing), root) {
			pids = append(pids, s.PID)
		}
		if fmt.Sprint(pids) != want {
			t.Errorf("%v: %v, want %s", root, pids, want)
		}
	}
}

func TestAllOfAGroupIsSignalledInOneStep(t *testing.T) {
	cmd := start(t, "sleep 1000 & echo ready; wait")
	p := open(t, cmd.Process.Pid)
	err := p.SignalGroup(unix.SIGKILL)
	if err == ErrNoGroupSignal {
		t.Skip("Linux before 6.9")
	}
	check(t, err)
	sc := newScanner(t)
	until(t, "the group has ended", func() bool {
		members, err := sc.Group(p.ID.PID)
		check(t, err)
		return len(members) == 0
	})
	cmd.Wait()
	// The sleep is a zombie of the group until init has waited for it.
	until(t, "the group takes no signals", func() bool { return p.SignalGroup(unix.SIGTERM) == ErrGone })
}

func TestTheCallerKnowsWhatIsAboveIt(t *testing.T) {
	own := Self()
	if own.PID != os.Getpid() || own.PGID != unix.Getpgrp() || len(own.Above) == 0 || own.Above[0] != os.Getppid() {
		t.Errorf("%+v", own)
	}
}
