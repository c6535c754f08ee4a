package schedule

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// start runs a shell script that leads a process group, until it prints "ready".
func start(t *testing.T, script string) (*exec.Cmd, *proc.Process) {
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
	p, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return cmd, p
}

// run runs a schedule and returns what is left, and what was logged.
func run(t *testing.T, r Run, text string) (left []proc.ID, logged string, err error) {
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r.Info = func(string, ...any) {}
	r.Warn = func(format string, _ ...any) { logged += format + "\n" }
	left, err = r.Do(s)
	return left, logged, err
}

func waitForEnd(t *testing.T, p *proc.Process) {
	t.Helper()
	if n, err := proc.Poll([]unix.PollFd{p.PollFd()}, 2*time.Minute); n != 1 {
		t.Fatalf("%v lives: %v", p.ID, err)
	}
}

func of(p *proc.Process) Run { return Run{Process: p, ID: p.ID} }

func TestTheWaitEndsWhenAllOfTheGroupHasEnded(t *testing.T) {
	_, p := start(t, "sleep 1000 & sleep 1000 & echo ready; wait")
	begun := time.Now()
	left, logged, err := run(t, of(p), "TERM/600/KILL/600")
	if err != nil || len(left) != 0 || logged != "" || time.Since(begun) > 5*time.Minute {
		t.Errorf("%v left, %q, %v", left, logged, err)
	}
}

func TestWhatIgnoresTheSignalsIsLeft(t *testing.T) {
	_, p := start(t, "trap '' TERM; sleep 1000 & echo ready; while :; do wait; done")
	left, _, err := run(t, of(p), "TERM/0.1")
	if err != nil || len(left) != 2 || left[0] != p.ID {
		t.Errorf("left %v, %v; want the shell and its sleep", left, err)
	}
	left, _, err = run(t, of(p), "TERM/0.1/KILL/600")
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestAMemberThatOutlivesTheLeaderIsWaitedForAndKilled(t *testing.T) {
	_, p := start(t, "(trap '' TERM; echo ready; while :; do sleep 1000; done) & wait")
	if _, _, err := run(t, of(p), "TERM"); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, p)
	left, _, err := run(t, of(p), "TERM/0.2")
	if err != nil || len(left) == 0 || left[0] == p.ID {
		t.Fatalf("left %v, %v; want what ignores TERM", left, err)
	}
	left, _, err = run(t, Run{ID: p.ID}, "KILL/600") // by its identity alone
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestTheProcessAloneLeavesItsGroup(t *testing.T) {
	_, p := start(t, "sleep 1000 & echo ready; wait")
	r := of(p)
	r.Alone = true
	left, _, err := run(t, r, "TERM/600/KILL@group/600")
	if err != nil || len(left) != 0 || !p.Ended() {
		t.Fatalf("left %v, %v", left, err)
	}
	left, _, err = run(t, Run{ID: p.ID}, "CONT/0")
	if err != nil || len(left) != 1 {
		t.Errorf("of the group %v is left, %v; want its sleep", left, err)
	}
}

func TestAStoppedProcessCanEnd(t *testing.T) {
	_, p := start(t, "echo ready; kill -STOP $$; sleep 1000")
	left, _, err := run(t, of(p), "TERM/600")
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestASignalWithoutAHandlerIsLeftOut(t *testing.T) {
	_, p := start(t, "trap : USR1; echo ready; while :; do sleep 1000; done")
	r := of(p)
	r.Alone, r.Caught = true, true
	left, logged, err := run(t, r, "TSTP/600")
	if err != nil || len(left) != 1 || !strings.Contains(logged, "not sent") {
		t.Errorf("left %v, %q, %v", left, logged, err)
	}
	if s, err := p.Stat(); err != nil || s.State == 'T' {
		t.Errorf("it was stopped: %c, %v", s.State, err)
	}
	if left, logged, err = run(t, r, "USR1"); err != nil || len(left) != 0 || logged != "" {
		t.Errorf("with a handler: left %v, %q, %v", left, logged, err)
	}
}

func TestTheTreeIsSignalledAcrossGroups(t *testing.T) {
	_, p := start(t, "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 1000; done' & wait")
	r := of(p)
	left, _, err := run(t, r, "TERM@tree/0.2")
	left = slices.DeleteFunc(left, func(id proc.ID) bool { return id == p.ID }) // it may take longer to end
	if err != nil || len(left) == 0 {
		t.Fatalf("left %v, %v; want what ignores TERM", left, err)
	}
	waitForEnd(t, p)
	_, p = start(t, "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 1000; done' & wait")
	if more, _, err := run(t, of(p), "TERM@tree/0.2/KILL@tree/600"); err != nil || len(more) != 0 {
		t.Errorf("left %v, %v", more, err)
	}
	ignores, err := proc.OpenID(left[0])
	if err != nil {
		t.Fatal(err)
	}
	defer ignores.Close()
	if more, _, err := run(t, of(ignores), "KILL/600"); err != nil || len(more) != 0 {
		t.Errorf("left %v, %v", more, err)
	}
}

func TestMembersThatAreOlderThanTheLeaderAreNotOfItsGroup(t *testing.T) {
	cmd, p := start(t, "sleep 1000 & echo ready; wait")
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // the sleep is left in the group
	young := p.ID
	young.Start += 1 << 20
	if left, _, err := run(t, Run{ID: young}, "KILL/600"); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	left, _, err := run(t, Run{ID: p.ID}, "CONT/0")
	if err != nil || len(left) != 1 {
		t.Errorf("%v is left, %v; the older sleep must live", left, err)
	}
}

func TestAGroupWhoseNumberAnotherProcessHasIsGone(t *testing.T) {
	_, p := start(t, "sleep 1000 & echo ready; wait")
	old := p.ID
	old.Start-- // a process that had the pid before
	if left, _, err := run(t, Run{ID: old}, "KILL/600"); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if p.Ended() {
		t.Error("the process that has the pid now was killed")
	}
}

func TestATargetThatLeadsNoGroupIsSignalledAlone(t *testing.T) {
	_, leader := start(t, "sleep 1000 & echo ready; wait")
	sc := proc.NewScanner()
	defer sc.Close()
	children, err := sc.Children(leader)
	if err != nil || len(children) != 1 {
		t.Fatalf("%v, %v", children, err)
	}
	child, err := proc.OpenID(children[0].ID())
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	stop, err := proc.Open(leader.ID.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer stop.Close()
	left, logged, err := run(t, of(child), "STOP/0.01/KILL@group/600")
	if err != nil || len(left) != 0 || !strings.Contains(logged, "leads no process group") || !child.Ended() {
		t.Errorf("left %v, %q, %v", left, logged, err)
	}
}

func TestWhatTheCallerBelongsToIsNeverSignalled(t *testing.T) {
	init, err := proc.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer init.Close()
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	for _, p := range []*proc.Process{init, self} {
		for _, text := range []string{"CONT", "CONT@process", "CONT@group", "CONT@tree"} {
			if _, _, err := run(t, of(p), text); err == nil || !strings.Contains(err.Error(), "cannot signal") {
				t.Errorf("%s to %v: %v", text, p.ID, err)
			}
		}
	}
	r := Run{ID: proc.ID{PID: unix.Getpgrp(), Start: 1}, own: proc.Self()}
	if err := r.allowed(proc.ScopeGroup); err == nil {
		t.Error("the caller's own group is allowed")
	}
}
