package proc

import (
	"bufio"
	"errors"
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

// start runs a shell script, the leader of a process group of its own, until
// it prints "ready"; what it left is killed at the end of the test.
func start(t *testing.T, script string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func open(t *testing.T, pid int) *Process {
	p, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestAProcessIsFoundByItsPIDAndByItsIdentityAlone(t *testing.T) {
	p := open(t, os.Getpid())
	again, err := OpenID(p.ID)
	if err != nil || again.ID != p.ID {
		t.Fatalf("%v: %v", p.ID, err)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p.Close()
	if err := w.Close(); err != nil {
		t.Errorf("the descriptor of somebody else was closed: %v", err)
	}
}

func TestATreeIsThatOfAnIdentity(t *testing.T) {
	p := open(t, start(t, "sleep 1000 & echo ready; wait").Process.Pid)
	sc := NewScanner()
	defer sc.Close()
	if tree, err := sc.Tree(p.ID); err != nil || len(tree) != 2 {
		t.Errorf("%+v, %v; want the shell and the sleep", tree, err)
	}
	for _, other := range []ID{{p.ID.PID, p.ID.Start - 1}, {p.ID.PID, p.ID.Start + 1}} { // its pid has been given away
		if tree, err := sc.Tree(other); err != nil || len(tree) > 0 {
			t.Errorf("%v: %+v, %v", other, tree, err)
		}
	}
}

func TestProcOfAnotherNamespaceIsRefused(t *testing.T) {
	if err := checkOwnProc("/proc/self", os.Getpid()); err != nil {
		t.Error(err)
	}
	if err := checkOwnProc("/proc/self", os.Getpid()+1); err == nil || !strings.Contains(err.Error(), "of another pid namespace") {
		t.Errorf("%v", err)
	}
	if err := checkOwnProc("/proc/nothing", os.Getpid()); err == nil || !strings.Contains(err.Error(), "is /proc mounted?") {
		t.Errorf("%v", err)
	}
}

func TestAZombieHasEnded(t *testing.T) {
	cmd := start(t, "echo ready; exec sleep 1000")
	p := open(t, cmd.Process.Pid)
	if p.Ended() {
		t.Fatal("ended before it was killed")
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if n, err := Poll([]unix.PollFd{p.PollFd()}, time.Minute); n != 1 {
		t.Fatalf("no end: %v", err)
	}
	if _, err := Open(cmd.Process.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("a zombie: %v", err)
	}
	cmd.Wait()
	if _, err := Open(cmd.Process.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("a process that was waited for: %v", err)
	}
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, ErrGone) {
		t.Errorf("a signal to it: %v", err)
	}
	if _, err := p.Memory(RSS); !errors.Is(err, ErrGone) {
		t.Errorf("its memory: %v", err)
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
	cmd := start(t, "sleep 1000 & echo ready; wait")
	p := open(t, cmd.Process.Pid)
	var u Usage
	for deadline := time.Now().Add(time.Minute); ; { // the shell may still be on its way into wait
		var err error
		if u, err = p.Memory(RSS | Anon | Peak | Swap | PSS | USS); err != nil {
			t.Fatal(err)
		}
		rss, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(p.ID.PID)).Output()
		if strconv.FormatInt(u.RSS, 10) == strings.TrimSpace(string(rss)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d KB RSS; ps says %s, %v", u.RSS, rss, err)
		}
	}
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
	cmd := start(t, "sleep 1000 & (sleep 1000 & sleep 1000 &) ; setsid sh -c 'echo ready; exec sleep 1000' & wait")
	p := open(t, cmd.Process.Pid)
	sc := NewScanner()
	defer sc.Close()
	group, err := sc.Group(p.ID.PID)
	if err != nil || len(group) != 4 {
		t.Errorf("group: %+v, %v; want the shell and three sleeps", group, err)
	}
	tree, err := sc.Tree(p.ID)
	if err != nil || len(tree) != 3 || tree[0].ID() != p.ID {
		t.Errorf("tree: %+v, %v; want the shell and two sleeps", tree, err)
	}
	outside := slices.IndexFunc(tree, func(s Stat) bool { return s.PGID != p.ID.PID })
	if outside >= 0 {
		defer syscall.Kill(tree[outside].PID, syscall.SIGKILL)
	}
	children, err := sc.Children(p)
	if err != nil || len(children) != 2 {
		t.Errorf("children: %+v, %v; want two sleeps", children, err)
	}
	for deadline := time.Now().Add(time.Minute); ; { // some may still be on their way into sleep
		alone, errAlone := sc.Usage(p, ScopeProcess, USS)
		ofGroup, errGroup := sc.Usage(p, ScopeGroup, USS)
		ofTree, errTree := sc.Usage(p, ScopeTree, USS)
		byScan := alone
		errScan := sc.walkByScan(p, func(member *Process, _ Stat) {
			u, _ := member.Memory(USS)
			byScan.add(u)
		})
		if err := errors.Join(errAlone, errGroup, errTree, errScan); err != nil {
			t.Fatal(err)
		}
		if 0 < alone.USS && alone.USS < ofTree.USS && ofTree.USS < ofGroup.USS && byScan.USS == ofTree.USS {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("alone %+v, tree %+v, by a scan %+v, group %+v", alone, ofTree, byScan, ofGroup)
		}
	}
}

func TestACheckAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates: test/run runs this without it")
	}
	// Its own group would be that of all tests: a member that comes or goes may cost something.
	p := open(t, start(t, "sleep 1000 & echo ready; wait").Process.Pid)
	sc := NewScanner()
	defer sc.Close()
	check := func() {
		if _, err := sc.Usage(p, ScopeProcess, RSS|Swap); err != nil {
			t.Fatal(err)
		}
	}
	check() // the first opens the files
	if n := testing.AllocsPerRun(100, check); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAllOfAGroupIsSignalledInOneStep(t *testing.T) {
	cmd := start(t, "sleep 1000 & echo ready; wait")
	p := open(t, cmd.Process.Pid)
	switch err := p.SignalGroup(unix.SIGKILL); err {
	case ErrNoGroupSignal:
		t.Skip("Linux before 6.9")
	case nil:
	default:
		t.Fatal(err)
	}
	sc := NewScanner()
	defer sc.Close()
	for deadline := time.Now().Add(time.Minute); ; {
		members, err := sc.Group(p.ID.PID)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", members, err)
		}
		if len(members) == 0 {
			break
		}
	}
	cmd.Wait()
	// The sleep is a zombie of the group until init has waited for it.
	for deadline := time.Now().Add(time.Minute); p.SignalGroup(unix.SIGTERM) != ErrGone; {
		if time.Now().After(deadline) {
			t.Fatal("a group that is gone takes signals")
		}
	}
}

func TestTheCallerKnowsWhatIsAboveIt(t *testing.T) {
	own := Self()
	if own.PID != os.Getpid() || own.PGID != unix.Getpgrp() || len(own.Above) == 0 || own.Above[0] != os.Getppid() {
		t.Errorf("%+v", own)
	}
}
