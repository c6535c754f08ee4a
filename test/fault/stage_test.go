package fault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// patience is how long an event that must come may take: only a fault takes this long.
const patience = 40 * time.Second

var ownSession = &syscall.SysProcAttr{Setsid: true}

// A stage is the folder of one test and everything that the test starts. When the test ends, nothing of it may be left.
type stage struct {
	*testing.T
	dir  string
	mark string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	if _, err := exec.LookPath("runsv"); err != nil {
		t.Skip("runsv is not installed: it is in Debian's package runit")
	}
	dir, err := os.MkdirTemp("", "gkf")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{T: t, dir: dir, mark: "GRACEKIT_FAULT_STAGE=" + filepath.Base(dir)}
	t.Cleanup(s.mustBeEmpty)
	return s
}

// mustBeEmpty runs last: what was started has been told to end by then.
func (s *stage) mustBeEmpty() {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := processesWith(s.mark)
		if len(left) == 0 {
			break
		}
		late := time.Now().After(deadline)
		for _, p := range left {
			if late {
				cmdline, _ := p.ReadFile("cmdline")
				s.Errorf("left behind: %v %q", p.ID, cmdline)
				p.Signal(unix.SIGKILL)
			}
			p.Close()
		}
		if late {
			break
		}
	}
	if s.Failed() {
		s.Logf("kept for inspection: %s", s.dir)
		return
	}
	os.RemoveAll(s.dir)
}

// processesWith finds what carries the mark in its environment; a zombie runs nothing any more.
func processesWith(mark string) (found []*proc.Process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid == os.Getpid() {
			continue
		}
		p, err := proc.Open(pid)
		if err != nil {
			continue
		}
		environ, _ := p.ReadFile("environ")
		if strings.Contains("\x00"+string(environ), "\x00"+mark+"\x00") {
			found = append(found, p)
		} else {
			p.Close()
		}
	}
	return found
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) write(name, text string, mode os.FileMode) string {
	s.Helper()
	file := s.path(name)
	s.must(os.MkdirAll(filepath.Dir(file), 0o755))
	s.must(os.WriteFile(file, []byte(text), mode))
	s.must(os.Chmod(file, mode)) // whatever the umask is
	return file
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) read(name string) string {
	text, _ := os.ReadFile(s.path(name))
	return string(text)
}

func (s *stage) waitFor(what string, cond func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// need is a root's test, and one of a machine where a command works.
func (s *stage) need(command ...string) {
	s.Helper()
	if os.Geteuid() != 0 {
		s.Skip("only root may")
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		s.Skipf("not to be had here: %v: %v: %s", command, err, out)
	}
}

// run runs a command to its end.
func (s *stage) run(argv ...string) (code int, out string) {
	s.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Env, c.SysProcAttr = s.dir, append(os.Environ(), s.mark), ownSession
	text, err := c.CombinedOutput()
	if c.ProcessState == nil {
		s.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(text)
}

// A child is a process that the test itself started; both outputs go to its log.
type child struct {
	log
	*proc.Process
	code chan int // its exit code, when it has ended
}

func (s *stage) start(logfile string, argv ...string) *child {
	s.Helper()
	f, err := os.OpenFile(s.path(logfile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	s.must(err)
	defer f.Close()
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Env, c.SysProcAttr, c.Stdout, c.Stderr = s.dir, append(os.Environ(), s.mark), ownSession, f, f
	s.must(c.Start())
	p, err := proc.Open(c.Process.Pid) // nil if it has ended already
	if err != nil && !errors.Is(err, proc.ErrGone) {
		s.Fatal(err)
	}
	ch := &child{s.log(logfile), p, make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		c.Wait()
		ch.code <- c.ProcessState.ExitCode()
		close(ended)
	}()
	s.Cleanup(func() {
		select {
		case <-ended:
		default:
			c.Process.Kill()
			<-ended
		}
	})
	return ch
}

// exits waits for its end.
func (c *child) exits(code int) {
	c.s.Helper()
	select {
	case got := <-c.code:
		if got != code {
			c.s.Errorf("exit %d, want %d", got, code)
		}
	case <-time.After(patience):
		c.s.Fatalf("it has not ended")
	}
}

// A service is one under a real runsv.
type service struct {
	s   *stage
	dir string
	sv  *child
}

// service starts one whose run script ends in that command; its output goes to NAME.log.
func (s *stage) service(name, command string) *service {
	s.Helper()
	s.write(name+"/run", "#!/bin/sh\nexec >>"+s.path(name+".log")+" 2>&1\n"+command+"\n", 0o755)
	v := &service{s: s, dir: s.path(name)}
	v.supervise()
	s.Cleanup(v.exit)
	return v
}

func (v *service) supervise() {
	v.s.Helper()
	v.sv = v.s.start("runsv.log", "runsv", v.dir)
	v.s.waitFor("runsv is there", func() bool { return v.tell("") == nil })
}

// tell writes runsv's own control bytes: u up, d down, p pause, c continue, t term, k kill, x exit.
func (v *service) tell(letters string) error {
	f, err := os.OpenFile(v.dir+"/supervise/control", os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if letters != "" {
		_, err = f.WriteString(letters)
	}
	return err
}

func (v *service) exit() {
	const turn = time.Second // a command each turn: runsv must get through what was written before
	letters := "cx"
	for n := range int(patience / turn) {
		if n == 3 {
			letters = "k" // it ignores TERM
		}
		v.tell(letters)
		for again := time.Now().Add(turn); time.Now().Before(again); time.Sleep(10 * time.Millisecond) {
			if v.sv.Ended() {
				return
			}
		}
	}
	v.s.Errorf("runsv %s did not exit: %s", v.dir, v.stat())
	v.sv.Signal(unix.SIGKILL)
}

func (v *service) stat() string {
	text, _ := os.ReadFile(v.dir + "/supervise/stat")
	return strings.TrimSpace(string(text))
}

// running waits for a process other than that one, and until supervise/status has it: runsv writes that last, and
// gracewatch reads nothing else.
func (v *service) running(not proc.ID) (p *proc.Process) {
	v.s.Helper()
	v.s.waitFor(v.dir+" runs", func() bool {
		p = v.now()
		if p == nil || p.ID == not || !v.noted(p.ID.PID) {
			return false
		}
		// Not the shell before its exec: who is killed then never was what is meant.
		comm, _ := p.ReadFile("comm")
		return strings.TrimSpace(string(comm)) != "run"
	})
	v.s.Cleanup(p.Close)
	return p
}

func (v *service) noted(pid int) bool {
	text, err := os.ReadFile(v.dir + "/supervise/status")
	return err == nil && len(text) == 20 && binary.LittleEndian.Uint32(text[12:]) == uint32(pid)
}

// now is its process; nil: it has none.
func (v *service) now() *proc.Process {
	text, _ := os.ReadFile(v.dir + "/supervise/pid")
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if pid == 0 || !strings.HasPrefix(v.stat(), "run") {
		return nil
	}
	p, err := proc.Open(pid)
	if err != nil {
		return nil
	}
	return p
}

// A log is what gracewatch says in a file.
type log struct {
	s    *stage
	name string
}

func (s *stage) log(name string) log {
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("%s:\n%s", name, s.read(name))
		}
	})
	return log{s, name}
}

// count is how many lines have that expression.
func (l log) count(expression string) int {
	return len(regexp.MustCompile("(?m)"+expression).FindAllString(l.s.read(l.name), -1))
}

// event waits for the nth line (from 1) that has the expression.
func (l log) event(expression string, nth int) (line string) {
	l.s.Helper()
	re := regexp.MustCompile("(?m)^.*" + expression + ".*\n")
	l.s.waitFor(fmt.Sprintf("%q in %s for the %d. time", expression, l.name, nth), func() bool {
		lines := re.FindAllString(l.s.read(l.name), -1)
		if len(lines) >= nth {
			line = lines[nth-1]
		}
		return line != ""
	})
	return line
}

// never is for the end of a test: no such line came.
func (l log) never(expression string) {
	l.s.Helper()
	if n := l.count(expression); n > 0 {
		l.s.Errorf("%q is in %s, %d times", expression, l.name, n)
	}
}

// times is for the end of a test: so many such lines came.
func (l log) times(expression string, want int) {
	l.s.Helper()
	if n := l.count(expression); n != want {
		l.s.Errorf("%q is in %s %d times, not %d", expression, l.name, n, want)
	}
}

// An entry is a line of a worker's journal.
type entry struct {
	at    time.Duration // of CLOCK_BOOTTIME
	event string
	id    proc.ID
}

// A journal is what has happened to a worker and its successors.
type journal struct {
	s    *stage
	file string
}

func (s *stage) journal(name string) journal {
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("%s:\n%s", name, s.read(name))
		}
	})
	return journal{s, s.path(name)}
}

func (j journal) entries() (list []entry) {
	text, _ := os.ReadFile(j.file)
	for line := range bytes.Lines(text) {
		var e entry
		var id string
		if _, err := fmt.Sscan(string(line), &e.at, &e.event, &id); err != nil {
			var ns int64
			if _, err := fmt.Sscan(string(line), &ns, &e.event, &id); err != nil {
				j.s.Fatalf("journal: %q: %v", line, err)
			}
			e.at = time.Duration(ns)
		}
		e.id, _ = proc.ParseID(id)
		list = append(list, e)
	}
	return list
}

// of are the entries of one event.
func (j journal) of(event string) (list []entry) {
	for _, e := range j.entries() {
		if e.event == event {
			list = append(list, e)
		}
	}
	return list
}

// event waits for the nth of that event.
func (j journal) event(event string, nth int) (e entry) {
	j.s.Helper()
	j.s.waitFor(fmt.Sprintf("%s for the %d. time", event, nth), func() bool {
		list := j.of(event)
		if len(list) >= nth {
			e = list[nth-1]
		}
		return len(list) >= nth
	})
	return e
}

const (
	soft  = 30000 // KB, well above a worker's own size
	large = 40000 // KB, what a worker grows by
)

// worker is a service that grows by USR2, or after a while, and its journal. It runs: a gracewatch that is started then
// tells of no target-up before the first restart.
func (s *stage) worker(name string, flags ...string) (*service, journal) {
	s.Helper()
	j := s.journal(name + ".journal")
	v := s.service(name, fmt.Sprintf("exec worker serve -max %d %s %s", large, strings.Join(flags, " "), j.file))
	v.running(proc.ID{})
	return v, j
}

// restarter is the program that restarts a worker.
func (j journal) restarter(flags ...string) string {
	return fmt.Sprintf("worker restart %s %s", strings.Join(flags, " "), j.file)
}

// watched is a gracewatch under runsv: it comes back when it is killed.
func (s *stage) watched(name string, target *service, options, restarter string) (*service, log) {
	s.Helper()
	v := s.service(name, fmt.Sprintf("exec gracewatch -s %d %s %s %s", soft, options, target.dir, restarter))
	return v, s.log(name + ".log")
}

// watch is a gracewatch that the test starts itself.
func (s *stage) watch(target, options, restarter string) *child {
	s.Helper()
	argv := append([]string{"gracewatch", "-s", fmt.Sprint(soft)}, strings.Fields(options)...)
	argv = append(argv, target)
	return s.start("gracewatch.log", append(argv, strings.Fields(restarter)...)...)
}

// grow makes a worker large, or is on its way to that: it may be killed before.
func (s *stage) grow(p *proc.Process, j journal) {
	s.Helper()
	s.waitFor("it has started", func() bool { // before that it has no handler
		for _, e := range j.of("START") {
			if e.id == p.ID {
				return true
			}
		}
		return false
	})
	n := len(j.of("GROWS"))
	s.must(p.Signal(unix.SIGUSR2))
	j.event("GROWS", n+1)
}
