package harness

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// A stage is what a script has started.
type stage struct {
	dir      string // $WORK, which every process of the script has in its environment
	children map[string]*scriptChild
}

type scriptChild struct {
	*Child
	stdin io.WriteCloser
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// clear ends what the script started, and what came of that: all that has this script's $WORK in its environment, or works
// in that folder, for a stand-in of Sidekiq writes its title over its environment.
func (s *stage) clear() {
	for _, c := range s.children {
		c.stdin.Close()
		c.end()
	}
	KillAll(func() []Process { return ProcessesOf("WORK="+s.dir, s.dir, nil) })
}

func child(ts *testscript.TestScript, name string) *scriptChild {
	c := stageOf(ts).children[name]
	if c == nil {
		ts.Fatalf("nothing was started as %q", name)
	}
	return c
}

// start [-s] NAME PROG [ARG...] starts a process in a process group of its own (-s: in a session). Its output goes to
// NAME.out and NAME.err; $NAME is its pid, $NAME_id its identity.
func start(ts *testscript.TestScript, args []string) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if len(args) > 0 && args[0] == "-s" {
		attr, args = OwnSession, args[1:]
	}
	name := args[0]
	file, err := lookPath(ts, args[1])
	ts.Check(err)
	cmd := exec.Command(file, args[2:]...)
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer stderr.Close()
	cmd.Args[0] = args[1]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{}
	for _, key := range []string{"WORK", "PATH", "HOME", "TMPDIR", "GORACE", "GOCOVERDIR", "SIDEKIQ_FLEET_TIMEOUT", RunVariable} {
		if value := ts.Getenv(key); value != "" {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = stdout, stderr, attr
	stdin, err := cmd.StdinPipe()
	ts.Check(err)
	c, err := startChild(cmd)
	ts.Check(err)
	stageOf(ts).children[name] = &scriptChild{c, stdin}
	setID(ts, name, c.Process)
}

func lookPath(ts *testscript.TestScript, prog string) (string, error) {
	if strings.Contains(prog, "/") {
		return ts.MkAbs(prog), nil
	}
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		file := filepath.Join(dir, prog)
		if unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: not found", prog)
}

func setID(ts *testscript.TestScript, name string, p Process) {
	ts.Setenv(name, strconv.Itoa(p.PID))
	ts.Setenv(name+"_id", p.ID())
}

// note NAME FILE waits for a file that has a pid in it: $NAME is that, $NAME_id its identity.
func note(ts *testscript.TestScript, args []string) {
	var pid int
	eventually(ts, "a pid in "+args[1], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	p, _ := FindProcess(pid) // a zombie has an identity, too
	if p.PID == 0 {
		ts.Fatalf("there is no process %d", pid)
	}
	setID(ts, args[0], p)
}

// send NAME WORD... writes a line to what was started, and waits for the line that it answers.
func send(ts *testscript.TestScript, args []string) {
	lines := func() int { return strings.Count(wholeLines(ts.MkAbs(args[0]+".out")), "\n") }
	before := lines()
	_, err := fmt.Fprintln(child(ts, args[0]).stdin, strings.Join(args[1:], " "))
	ts.Check(err)
	eventually(ts, "an answer", func() bool { return lines() > before })
}

// signal NAME PID|IDENTITY
func signal(ts *testscript.TestScript, args []string) {
	sig := unix.SignalNum("SIG" + args[0])
	if sig == 0 {
		ts.Fatalf("invalid signal %q", args[0])
	}
	p, alive := Find(args[1])
	if !alive {
		ts.Fatalf("there is no process %s", args[1])
	}
	ts.Check(p.Signal(sig))
}

// [!] alive PID|IDENTITY; a zombie is not.
func alive(ts *testscript.TestScript, neg bool, args []string) {
	if _, alive := Find(args[0]); alive == neg {
		ts.Fatalf("%s: alive is %v", args[0], alive)
	}
}

// wait-exit NAME CODE waits for the end of what was started, which must exit so.
func waitExit(ts *testscript.TestScript, args []string) {
	c := child(ts, args[0])
	if !Happens(c.Done, Patience) {
		ts.Fatalf("waited %v for the end of %s", Patience, args[0])
	}
	if strconv.Itoa(c.Code) != args[1] {
		text, _ := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		ts.Fatalf("%s: exit %d, not %s\n%s", args[0], c.Code, args[1], text)
	}
}

// wait-gone PID|IDENTITY waits for the end of a process; a zombie has ended.
func waitGone(ts *testscript.TestScript, args []string) {
	eventually(ts, "the end of "+args[0], func() bool { _, alive := Find(args[0]); return !alive })
}

// wait-phase SERVICE down|run|finish waits until the supervisor has written that into supervise/status: what ./run or
// ./finish wrote, and runsv's other files, come before.
func waitPhase(ts *testscript.TestScript, args []string) {
	eventually(ts, args[0]+" in "+args[1], func() bool {
		status, err := readStatus(ts.MkAbs(args[0]))
		return err == nil && status.phase == args[1]
	})
}

// wait-poll PID waits until a process has checked what it watches. One that has ended has, too.
func waitPoll(ts *testscript.TestScript, args []string) {
	p, _ := Find(args[0])
	eventually(ts, args[0]+" in ppoll", p.polls())
}

// peak NAME sets $NAME_kb, $NAME_b, $NAME_mb and $NAME_less_kb (one KB less) to VmHWM of the process $NAME, which doesn't
// change while it sleeps.
func peak(ts *testscript.TestScript, args []string) {
	text, err := os.ReadFile("/proc/" + ts.Getenv(args[0]) + "/status")
	ts.Check(err)
	found := regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`).FindSubmatch(text)
	if found == nil {
		ts.Fatalf("no VmHWM in %q", text)
	}
	kb, err := strconv.Atoi(string(found[1]))
	ts.Check(err)
	ts.Setenv(args[0]+"_kb", strconv.Itoa(kb))
	ts.Setenv(args[0]+"_less_kb", strconv.Itoa(kb-1))
	ts.Setenv(args[0]+"_b", strconv.Itoa(kb*1024))
	ts.Setenv(args[0]+"_mb", strconv.Itoa(kb/1024))
}
