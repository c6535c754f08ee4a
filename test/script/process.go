package script

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/test/harness"
)

// stage is the processes of one script.
type stage struct {
	dir       string // $WORK, which every process of the script has in its environment
	processes map[string]*process
}

// process is one that the script started.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when it has ended and was waited for
	state *os.ProcessState
}

// start [-s] NAME PROG [ARG...] starts a process in a process group of its own
// (-s: in a session). Its output goes to NAME.out and NAME.err; $NAME is its
// pid, $NAME_id its identity.
func start(ts *testscript.TestScript, neg bool, args []string) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if len(args) > 0 && args[0] == "-s" {
		attr, args = &syscall.SysProcAttr{Setsid: true}, args[1:]
	}
	arguments(ts, args, 2, "start [-s] NAME PROG [ARG...]")
	name := args[0]
	file, err := lookPath(ts, args[1])
	ts.Check(err)
	p := &process{cmd: exec.Command(file, args[2:]...), ended: make(chan struct{})}
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer stderr.Close()
	p.cmd.Args[0] = args[1]
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = []string{}
	s := ts.Value(stageKey{}).(*stage)
	for _, key := range []string{"WORK", "PATH", "HOME", "TMPDIR", "GORACE", "GOCOVERDIR", "SIDEKIQ_FLEET_TIMEOUT", harness.RunVariable} {
		if value := ts.Getenv(key); value != "" {
			p.cmd.Env = append(p.cmd.Env, key+"="+value)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = stdout, stderr, attr
	p.stdin, err = p.cmd.StdinPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	id, err := identity(p.cmd.Process.Pid) // not waited for yet: it is there, at least as a zombie
	go func() {
		p.state, _ = p.cmd.Process.Wait()
		close(p.ended)
	}()
	s.processes[name] = p
	ts.Check(err)
	setID(ts, name, id)
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

// note NAME FILE waits for a file that has a pid in it: $NAME is that, $NAME_id its identity.
func note(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "note NAME FILE")
	var pid int
	until(ts, "a pid in "+args[1], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	id, err := identity(pid)
	ts.Check(err)
	setID(ts, args[0], id)
}

func setID(ts *testscript.TestScript, name string, id proc.ID) {
	ts.Setenv(name, strconv.Itoa(id.PID))
	ts.Setenv(name+"_id", id.String())
}

// identity is who has a pid, read without what is tested. A zombie has one, too.
func identity(pid int) (proc.ID, error) {
	p, _ := harness.Look(pid)
	if p.PID == 0 {
		return proc.ID{}, fmt.Errorf("there is no process %d", pid)
	}
	return proc.ParseID(p.ID())
}

// open is a process by its pid or identity.
func open(target string) (*proc.Process, error) {
	if !strings.Contains(target, ":") {
		pid, err := strconv.Atoi(target)
		if err != nil {
			return nil, err
		}
		return proc.Open(pid)
	}
	id, err := proc.ParseID(target)
	if err != nil {
		return nil, err
	}
	return proc.OpenID(id)
}

// tell NAME WORD... writes a line to what was started, and waits for the line that it answers.
func tell(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "tell NAME WORD...")
	p := started(ts, args[0])
	out := ts.MkAbs(args[0] + ".out")
	before := lines(out)
	_, err := fmt.Fprintln(p.stdin, strings.Join(args[1:], " "))
	ts.Check(err)
	until(ts, "an answer", func() bool { return lines(out) > before })
}

func started(ts *testscript.TestScript, name string) *process {
	s := ts.Value(stageKey{}).(*stage)
	p := s.processes[name]
	if p == nil {
		ts.Fatalf("nothing was started as %q", name)
	}
	return p
}

func lines(file string) int {
	text, _ := os.ReadFile(file)
	return bytes.Count(text, []byte("\n"))
}

// signal NAME PID|IDENTITY
func signal(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "signal NAME PID|IDENTITY")
	sig := unix.SignalNum("SIG" + args[0])
	if sig == 0 {
		ts.Fatalf("invalid signal %q", args[0])
	}
	p, err := open(args[1])
	ts.Check(err)
	defer p.Close()
	ts.Check(p.Signal(sig))
}

// clear ends what the script started, and what came of that: all that has this script's $WORK in its environment, or works
// in that folder, for a stand-in of Sidekiq writes its title over its environment.
func (s *stage) clear() {
	for _, p := range s.processes {
		p.stdin.Close()
		p.cmd.Process.Kill()
		<-p.ended
	}
	harness.KillAll(func() []harness.Process { return harness.ProcessesOf("WORK="+s.dir, s.dir, nil) })
}
