package schedule

import (
	"bufio"
	"fmt"
	"maps"
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

// world is the processes of a test by their names; "leader" is the first.
type world map[string]*proc.Process

// serve runs a shell script as pgexec -s would: it leads a group and a session, and has the mark of its own identity in
// its environment. Each process that the test is about prints a line "NAME PID"; names are all of them.
func serve(t *testing.T, names, script string) world {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read -r PGEXEC_ID && export PGEXEC_ID\n"+script)
	cmd.Dir = t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	w := world{}
	w.add(t, "leader", cmd.Process.Pid)
	fmt.Fprintln(in, w["leader"].ID)
	lines := bufio.NewScanner(out)
	for range strings.Fields(names) {
		lines.Scan()
		name, word, _ := strings.Cut(lines.Text(), " ")
		pid, err := strconv.Atoi(word)
		check(t, err)
		if w[name] == nil { // the leader says that it is ready
			w.add(t, name, pid)
		}
	}
	for _, name := range strings.Fields(names) {
		if w[name] == nil {
			t.Fatalf("%s was not started", name)
		}
	}
	return w
}

// add opens a process, which is killed when the test ends.
func (w world) add(t *testing.T, name string, pid int) {
	t.Helper()
	p, err := proc.Open(pid)
	check(t, err)
	w[name] = p
	t.Cleanup(func() {
		p.Signal(unix.SIGKILL)
		p.Close()
	})
}

// run runs a schedule, and has what is left and logged with the names of the processes.
func (w world) run(t *testing.T, r Run, text string) (left, logged string, err error) {
	t.Helper()
	s, err := Parse(text)
	check(t, err)
	var lines, names []string
	r.Info = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	r.Warn = r.Info
	ids, err := r.Do(s)
	for _, id := range ids {
		names = append(names, id.String())
	}
	rename := func(text string) string {
		for name, p := range w {
			text = strings.ReplaceAll(text, p.ID.String(), name)
		}
		return text
	}
	words := strings.Fields(rename(strings.Join(names, " ")))
	slices.Sort(words)
	return strings.Join(words, " "), rename(strings.Join(lines, "; ")), err
}

// checkAlive fails unless these processes live, and the others end.
func (w world) checkAlive(t *testing.T, names string) {
	t.Helper()
	for name, p := range w {
		if !slices.Contains(strings.Fields(names), name) {
			waitForEnd(t, p)
		} else if p.Ended() {
			t.Errorf("%s has ended", name)
		}
	}
}

func waitForEnd(t *testing.T, p *proc.Process) {
	t.Helper()
	if n, err := proc.Poll([]unix.PollFd{p.PollFd()}, 2*time.Minute); n != 1 {
		t.Fatalf("%v lives: %v", p.ID, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	member = `sleep 1000 & echo member $!; wait`
	deaf   = `trap "" TERM; ` + member // the member ignores it, too
	// helpers leave their parent in each of the ways that a job's helpers do.
	helpers = `
sleep 1000 & echo group $!
perl -e 'setpgrp(0, 0); $| = 1; print "own-group $$\n"; exec "sleep", 1000' &
sh -c 'perl -e "setpgrp(0, 0); $| = 1; print qq(orphan-group \$\$\n); exec qw(sleep 1000)" &'
setsid sh -c 'echo own-session $$; exec sleep 1000' &
sh -c 'setsid sh -c "echo double-fork \$\$; exec sleep 1000" &'
env -i setsid /bin/sh -c 'echo closed-environment $$; exec sleep 1000' &
wait`
	helperNames = "group own-group orphan-group own-session double-fork closed-environment"
	termToGroup = "TERM to group leader; CONT to group leader"
	termToAll   = "TERM to all of leader; CONT to all of leader"
	alone       = " leads no process group: only the process itself is signalled (start it with pgexec or chpst -P)"
)

func TestWhatIsSignalledAndWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		names, script string
		target        string // its name; leader, if empty
		before        func(t *testing.T, r *Run)
		schedule      string
		left, alive   string
		logged        string // ... at its end: and more
	}{
		"the wait ends when all of the group has ended": {
			names: "member", script: member, schedule: "TERM/600/KILL/600", logged: termToGroup},
		"what ignores a signal is left": {
			names: "member", script: deaf, schedule: "TERM/0.1", left: "leader member", alive: "leader member", logged: termToGroup},
		"it gets the next one": {
			names: "member", script: deaf, schedule: "TERM/0.1/KILL/600", logged: termToGroup + "; KILL to group leader"},
		"a schedule that ends in a signal is done": {
			names: "member", script: deaf, schedule: "USR1@process/0.1/TERM", alive: "member", logged: "USR1 to process leader; " + termToGroup},
		"forever repeats what follows it": {
			names:    "leader",
			script:   `trap 'n=x$n; [ $n = xxx ] && exit' TERM; echo leader $$; while :; do sleep 0.01; done`,
			schedule: "CONT/0/forever/TERM/0.05",
			logged:   "CONT to group leader; " + termToGroup + "; " + termToGroup + "; " + termToGroup + "..."},
		"a stopped process can end": {
			names: "leader", script: "echo leader $$; kill -STOP $$; sleep 1000", schedule: "TERM/60", logged: termToGroup},

		"alone the process leaves its group": {
			names: "member", script: member, before: onlyProcess, schedule: "TERM/600/KILL/600", alive: "member",
			logged: "TERM to process leader; CONT to process leader"},
		"@group goes to the group all the same": {
			names: "member", script: member, before: onlyProcess, schedule: "ALRM@group/600", logged: "ALRM to group leader"},
		"@process goes to the process": {
			names: "member", script: member, schedule: "KILL@process", alive: "member", logged: "KILL to process leader"},
		"@tree goes to descendants in any group, and to no other process": {
			names:  "below orphan",
			script: `setsid sh -c 'trap "" TERM; echo below $$; exec sleep 1000' & (sleep 1000 & echo $! >pid); echo orphan $(cat pid); wait`,
			before: onlyProcess, schedule: "TERM@tree/0.2/KILL@tree/600", alive: "orphan",
			logged: "TERM to tree leader; CONT to tree leader; KILL to tree leader"},
		"a target that leads no group is signalled alone": {
			names: "target mate", script: `sleep 1000 & echo target $!; sleep 1000 & echo mate $!; wait; wait`, target: "target",
			schedule: "TERM/600", alive: "leader mate", logged: "target" + alone + "; TERM to process target; CONT to process target"},
		"@group does not change that": {
			names: "target mate", script: `sleep 1000 & echo target $!; sleep 1000 & echo mate $!; wait; wait`, target: "target",
			schedule: "ALRM@group/600", alive: "leader mate", logged: "target" + alone + "; ALRM to process target"},

		"a signal without a handler is left out, and its wait": {
			names: "leader", script: `trap exit USR1; trap "" TSTP; echo leader $$; sleep 1000 & wait`,
			before:   func(t *testing.T, r *Run) { r.Alone, r.Caught = true, true },
			schedule: "TSTP/600/HUP/600/USR1/600",
			logged: "TSTP to process leader; TSTP not sent to leader: it has no handler for that signal; " +
				"HUP to process leader; HUP not sent to leader: it has no handler for that signal; USR1 to process leader"},
		"members that have a handler get it": {
			names: "member", script: `sh -c 'trap exit USR1; echo member $$; while :; do sleep 0.01; done' & while :; do wait; done`,
			before: onlyCaught, schedule: "USR1", alive: "leader", logged: "USR1 to group leader"},

		"the members of a dead leader are found": {
			names: "member", script: member, before: killed, schedule: "TERM/600/KILL/600", logged: termToGroup},
		"those that survive are left": {
			names: "member", script: deaf, before: killed, schedule: "TERM/0.1", left: "member", alive: "member", logged: termToGroup},
		"no process that started before the leader is a member": {
			names: "member", script: member, before: func(t *testing.T, r *Run) { killed(t, r); r.ID.Start += 1 << 20 },
			schedule: "KILL/600", alive: "member"},
		"a group whose number another process has is gone": {
			names: "member", script: member, before: func(t *testing.T, r *Run) { r.Process = nil; r.ID.Start-- },
			schedule: "KILL@all/600", alive: "leader member"},

		"@all ends what has a group or session of its own": {
			names: helperNames, script: helpers, schedule: "TERM@all/600", logged: termToAll},
		"@all of a dead leader is found by group, session and mark, and the rest by nothing": {
			names: helperNames, script: helpers, before: killed, schedule: "TERM@all/600", alive: "closed-environment", logged: termToAll},
		"what was listed ends when its parents are dead": {
			names: helperNames, script: helpers, schedule: "TERM@all/600", logged: termToAll,
			before: func(t *testing.T, r *Run) { check(t, r.List()); killed(t, r) }},
		"what ignores the signals of @all is left": {
			names:    "deaf",
			script:   `trap "" TERM; sh -c 'setsid sh -c "echo deaf \$\$; exec sleep 1000" &'; exec sleep 1000`,
			schedule: "TERM@all/0.1", left: "deaf leader", alive: "deaf leader", logged: termToAll},
		"and is killed": {
			names:  "deaf",
			script: `trap "" TERM; sh -c 'setsid sh -c "echo deaf \$\$; exec sleep 1000" &'; exec sleep 1000`,
			before: killed, schedule: "TERM@all/0.1/KILL@all/600", logged: termToAll + "; KILL to all of leader"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			w := serve(t, c.names, c.script)
			target := w["leader"]
			if c.target != "" {
				target = w[c.target]
			}
			r := Run{Process: target, ID: target.ID}
			if c.before != nil {
				c.before(t, &r)
			}
			left, logged, err := w.run(t, r, c.schedule)
			want, more := strings.CutSuffix(c.logged, "...")
			if err != nil || left != c.left || logged != want && !(more && strings.HasPrefix(logged, want)) {
				t.Errorf("left %q, %v; want %q\nlogged %q\n  want %q", left, err, c.left, logged, c.logged)
			}
			w.checkAlive(t, c.alive)
		})
	}
}

func onlyProcess(t *testing.T, r *Run) { r.Alone = true }
func onlyCaught(t *testing.T, r *Run)  { r.Caught = true }

// killed has the leader killed: it is known by its identity alone.
func killed(t *testing.T, r *Run) {
	check(t, r.Process.Signal(unix.SIGKILL))
	waitForEnd(t, r.Process)
	r.Process = nil
}

// Everything that a service starts inherits the mark, also what must not end with the service.
func TestAMarkThatMeansNothing(t *testing.T) {
	// older gets the leader's identity, and so its mark, when it has been started itself.
	older := exec.Command("/bin/sh", "-c", `read -r id; exec env PGEXEC_ID="$id" sleep 1000`)
	older.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := older.StdinPipe()
	check(t, err)
	check(t, older.Start())
	t.Cleanup(func() { older.Wait() })
	early := world{}
	early.add(t, "older", older.Process.Pid)
	for early["older"].ID.StartTime() > proc.Now()-20*time.Millisecond { // start times are in clock ticks of 10 ms
		time.Sleep(10 * time.Millisecond)
	}
	names, alive := "helper runsv service watcher worker", "older runsv service watcher worker"
	script := `
sh -c 'setsid perl -e "\$0 = q(runsv); \$| = 1; print qq(runsv \$\$\n); system(qw(sh -c), q(echo service \$\$; sleep 1000 & echo worker \$!; wait))" &'
sh -c 'env -u PGEXEC_ID setsid sh -c "echo watcher \$\$; exec sleep 1000" &'
sh -c 'setsid sh -c "echo helper \$\$; exec sleep 1000" &'
`
	if os.Geteuid() == 0 {
		script += `sh -c 'setsid setpriv --reuid=65534 --clear-groups sh -c "echo stranger \$\$; exec sleep 1000" &'` + "\n"
		names, alive = names+" stranger", alive+" stranger"
	}
	w := serve(t, names, script+"exec sleep 1000")
	maps.Copy(w, early)
	leader := w["leader"]
	fmt.Fprintln(in, leader.ID)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if environ, _ := w["older"].Environ(); slices.Contains(environ, leader.ID.Mark()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the older process has no mark")
		}
	}
	left, logged, err := w.run(t, Run{Process: leader, ID: leader.ID}, "TERM@all/600")
	if err != nil || left != "" || logged != termToAll {
		t.Errorf("left %q, logged %q, %v", left, logged, err)
	}
	w.checkAlive(t, alive)
}

func TestWhatTheCallerBelongsToIsNeverSignalled(t *testing.T) {
	for pid, want := range map[int]string{1: "it is init, which is never signalled", os.Getpid(): "it is the caller's own process"} {
		p, err := proc.Open(pid)
		check(t, err)
		defer p.Close()
		for _, text := range []string{"CONT", "CONT@process", "CONT@group", "CONT@tree", "CONT@all"} {
			_, _, err := world{}.run(t, Run{Process: p, ID: p.ID}, text)
			if err == nil || err.Error() != fmt.Sprintf("cannot signal %v: %s", p.ID, want) {
				t.Errorf("%s: %v; want %q", text, err, want)
			}
		}
	}
	r := Run{ID: proc.ID{PID: unix.Getpgrp(), Start: 1}, own: proc.Self()}
	if err := r.allowed(proc.ScopeGroup); err == nil {
		t.Error("the caller's own group is allowed")
	}
}
