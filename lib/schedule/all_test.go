package schedule

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// serve runs a shell script as pgexec -s would: it leads a session and has the
// mark of its own identity in its environment. Each of the n processes that the
// test is about prints a line "NAME PID".
func serve(t *testing.T, n int, script string) (leader *proc.Process, started map[string]*proc.Process) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read -r PGEXEC_ID && export PGEXEC_ID\n"+script)
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	leader = openPID(t, cmd.Process.Pid)
	in.Write([]byte(leader.ID.String() + "\n"))
	started = map[string]*proc.Process{}
	for lines := bufio.NewScanner(out); len(started) < n && lines.Scan(); {
		name, word, _ := strings.Cut(lines.Text(), " ")
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("the script printed %q", lines.Text())
		}
		started[name] = openPID(t, pid)
	}
	if len(started) < n {
		t.Fatalf("started %v, not %d processes", survivors(started), n)
	}
	return leader, started
}

// openPID opens a process, which is killed when the test ends.
func openPID(t *testing.T, pid int) *proc.Process {
	t.Helper()
	p, err := proc.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Signal(unix.SIGKILL)
		p.Close()
	})
	return p
}

// survivors are the names of the processes that have not ended.
func survivors(started map[string]*proc.Process) (names []string) {
	for name, p := range started {
		if !p.Ended() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// helpers start processes in each of the ways by which a job's helpers leave
// their parent, six processes.
const helpers = `
sleep 1000 & echo group $!
perl -e 'setpgrp(0, 0); $| = 1; print "own-group $$\n"; exec "sleep", 1000' &
sh -c 'perl -e "setpgrp(0, 0); $| = 1; print qq(orphan-group \$\$\n); exec qw(sleep 1000)" &'
setsid sh -c 'echo own-session $$; exec sleep 1000' &
sh -c 'setsid sh -c "echo double-fork \$\$; exec sleep 1000" &'
env -i setsid /bin/sh -c 'echo closed-environment $$; exec sleep 1000' &
`

func TestAllEndsWhatHasAGroupOrSessionOfItsOwn(t *testing.T) {
	leader, started := serve(t, 6, helpers+"wait")
	left, logged, err := run(t, of(leader), "TERM@all/600")
	if err != nil || len(left) != 0 || logged != "" {
		t.Errorf("left %v, logged %q, %v", left, logged, err)
	}
	if names := survivors(started); len(names) != 0 {
		t.Errorf("survived: %v", names)
	}
}

func TestAllOfADeadLeaderIsFoundByGroupSessionAndMark(t *testing.T) {
	leader, started := serve(t, 6, helpers+"wait")
	if err := leader.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, leader)
	left, _, err := run(t, Run{ID: leader.ID}, "TERM@all/600")
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	// Nothing connects a process to a service that is dead if it has neither its group, its session nor its mark.
	if names := survivors(started); !slices.Equal(names, []string{"closed-environment"}) {
		t.Errorf("survived: %v", names)
	}
}

func TestWhatWasListedEndsWhenItsParentsAreDead(t *testing.T) {
	leader, started := serve(t, 6, helpers+"wait")
	r := of(leader)
	r.Warn = func(format string, args ...any) { t.Errorf(format, args...) }
	if err := r.List(); err != nil {
		t.Fatal(err)
	}
	if err := leader.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, leader)
	left, _, err := run(t, r, "TERM@all/600")
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if names := survivors(started); len(names) != 0 {
		t.Errorf("survived: %v", names)
	}
}

func TestWhatIgnoresTheSignalsOfAllIsLeftAndKilled(t *testing.T) {
	leader, started := serve(t, 1, `sh -c 'setsid sh -c "trap \"\" TERM; echo deaf \$\$; while :; do sleep 1000; done" &'; exec sleep 1000`)
	left, _, err := run(t, of(leader), "TERM@all/1")
	if err != nil || !slices.Contains(left, started["deaf"].ID) {
		t.Errorf("left %v, %v; want %v", left, err, started["deaf"].ID)
	}
	left, _, err = run(t, Run{ID: leader.ID}, "TERM@all/0.1/KILL@all/600")
	if err != nil || len(left) != 0 || !started["deaf"].Ended() {
		t.Errorf("left %v, %v", left, err)
	}
}

// Everything that a service starts inherits the mark, also what must not end with the service.
func TestAMarkThatMeansNothing(t *testing.T) {
	// older gets the leader's identity, and so its mark, when it is started itself already.
	older := exec.Command("/bin/sh", "-c", `read -r id; exec env PGEXEC_ID="$id" sleep 1000`)
	older.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := older.StdinPipe()
	if err == nil {
		err = older.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { older.Wait() })
	olderProcess := openPID(t, older.Process.Pid)
	for olderProcess.ID.StartTime() > proc.Now()-20*time.Millisecond { // start times are in clock ticks of 10 ms
		time.Sleep(10 * time.Millisecond)
	}
	script := `
sh -c 'setsid perl -e "\$0 = q(runsv); \$| = 1; print qq(runsv \$\$\n); system(qw(sh -c), q(echo service \$\$; sleep 1000 & echo worker \$!; wait))" &'
sh -c 'env -u PGEXEC_ID setsid sh -c "echo watcher \$\$; exec sleep 1000" &'
sh -c 'setsid sh -c "echo helper \$\$; exec sleep 1000" &'
`
	want := []string{"older", "runsv", "service", "watcher", "worker"}
	if os.Geteuid() == 0 {
		script += `sh -c 'setsid setpriv --reuid=65534 --clear-groups sh -c "echo stranger \$\$; exec sleep 1000" &'` + "\n"
		want = []string{"older", "runsv", "service", "stranger", "watcher", "worker"}
	}
	// As many as want has: with the helper, which ends, and without older.
	leader, started := serve(t, len(want), script+"exec sleep 1000")
	in.Write([]byte(leader.ID.String() + "\n"))
	in.Close()
	started["older"] = olderProcess
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if environ, _ := olderProcess.Environ(); slices.Contains(environ, leader.ID.Mark()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the older process has no mark")
		}
	}
	left, logged, err := run(t, of(leader), "TERM@all/600")
	if err != nil || len(left) != 0 || logged != "" {
		t.Errorf("left %v, logged %q, %v", left, logged, err)
	}
	if names := survivors(started); !slices.Equal(names, want) {
		t.Errorf("survived: %v, want %v", names, want)
	}
}

func TestAPidGivenToAnotherProcessIsNotSignalledWithTheTree(t *testing.T) {
	leader, started := serve(t, 1, "sleep 1000 & echo child $!; wait")
	child := started["child"]
	earlier := child.ID
	earlier.Start-- // a process that had the pid before
	r := of(leader)
	r.members = []proc.ID{earlier}
	defer r.open()()
	if err := leader.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitForEnd(t, leader)
	if found, err := r.findTree(); err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
}
