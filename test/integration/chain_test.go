package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watcherOf waits for the gracewatch that memory-killer has started for a process.
func (s *sandbox) watcherOf(p process) (watcher process) {
	s.Helper()
	s.waitFor(fmt.Sprintf("process %d is watched", p.pid), func() bool {
		for _, w := range processesWith(s.mark, nil) {
			if title := title(w); strings.HasPrefix(title, "gracewatch\x00") && strings.Contains(title, "\x00"+p.id()+"\x00") {
				watcher = w
				return true
			}
		}
		return false
	})
	return watcher
}

// children are those that have not been reaped, zombies too.
func children(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	return strings.TrimSpace(string(text))
}

// open lists what a process has open, by descriptor.
func opened(p process) map[string]string {
	files := map[string]string{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.pid))
	for _, l := range links {
		files[filepath.Base(l)], _ = os.Readlink(l)
	}
	return files
}

// memory-killer in front of a program: the watcher that it leaves shares nothing with the program but stderr.
func TestTheWatcherHoldsNothingOfTheProgram(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	lock, err := os.Create(s.path("lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ready, readyWriter := s.pipe()
	high, highWriter := s.pipe()
	logger, stdout := s.pipe()

	c := s.command("pgexec", "-s", "memory-killer", "sh", "-c", `trap "" HUP; exec sleep 1000`)
	c.Env = append(c.Env, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=100000000")
	c.Stdin, c.Stdout = logger, stdout
	_, c.Stderr = s.log("stderr")
	c.ExtraFiles = make([]*os.File, 198)
	c.ExtraFiles[0], c.ExtraFiles[6], c.ExtraFiles[197] = readyWriter, lock, highWriter // 3, 9, 200
	prog := s.start(c)
	for _, f := range []*os.File{readyWriter, highWriter, stdout, lock} {
		f.Close()
	}
	watcher := s.watcherOf(prog.process)
	s.waitFor("the program runs", func() bool { return strings.HasPrefix(title(prog.process), "sleep") })

	mine := opened(prog.process)
	for _, fd := range []string{"3", "9", "200"} {
		if mine[fd] == "" {
			s.Errorf("the program has lost its descriptor %s", fd)
		}
	}
	for fd, file := range opened(watcher) {
		shared := slices.Contains([]string{mine["0"], mine["1"], mine["3"], mine["9"], mine["200"]}, file)
		if shared || fd == "2" && file != mine["2"] {
			s.Errorf("descriptor %s of the watcher is %s; the program has %v", fd, file, mine)
		}
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", watcher.pid)); cwd != "/" {
		s.Errorf("the watcher works in %s", cwd)
	}
	if watcher.sid != watcher.pid || watcher.pgid != watcher.pid || watcher.ppid == prog.pid {
		s.Errorf("no session of its own: %v", watcher)
	}
	if left := children(prog.pid); left != "" {
		s.Errorf("the program has children that it knows nothing of: %s", left)
	}
	if err := syscall.Kill(-prog.pid, syscall.SIGHUP); err != nil { // as from a terminal that is closed
		t.Fatal(err)
	}

	// What the program held is free when it ends, even if its watcher cannot get to its own end.
	syscall.Kill(watcher.pid, syscall.SIGSTOP)
	s.waitFor("the watcher is stopped", func() bool { w, _ := look(watcher.pid); return w.state == 'T' })
	prog.kill()
	for name, r := range map[string]*os.File{"3": ready, "200": high, "1": logger} {
		r.SetReadDeadline(time.Now().Add(patience))
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			s.Errorf("descriptor %s is still held: %v", name, err)
		}
	}
	s.wants(0, "flock", "-w", "60", s.path("lock"), "true")
	syscall.Kill(watcher.pid, syscall.SIGCONT)
	s.waitFor("the watcher has ended with its process", func() bool { return !watcher.alive() })
}

// terminal is the one that could send signals to a process; 0: none.
func terminal(p process) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(f) > 4 {
		return string(f[4]) // field 7
	}
	return "unknown"
}

// pipe is closed at the end of the test, if not before.
func (s *sandbox) pipe() (r, w *os.File) {
	s.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// A Ctrl-C at the terminal goes to all that is in its foreground: the watcher has no terminal.
func TestCtrlCDoesNotReachTheWatcher(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	// script(1) gives its command a terminal, from which it passes on what it reads.
	s.write("run", `#!/bin/sh
trap : INT
SIDEKIQ_DAEMON_MEMORY_KILLER=1 SIDEKIQ_MEMORY_KILLER_MAX_RSS=100000000 memory-killer sleep 1000
echo $? >`+s.path("code")+`
cat >`+s.path("rest")+`
`, 0o755)
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script(1) is not installed")
	}
	c := s.command("script", "-qec", s.path("run"), "/dev/null")
	in, keys := s.pipe()
	c.Stdin = in
	c.Stdout, c.Stderr = s.log("terminal")
	s.start(c)
	var prog process
	s.waitFor("the program runs", func() bool {
		for _, p := range processesWith(s.mark, nil) {
			if title(p) == "sleep\x001000" {
				prog = p
				return true
			}
		}
		return false
	})
	watcher := s.watcherOf(prog)
	if terminal(prog) == "0" || terminal(watcher) != "0" {
		s.Errorf("the program's terminal is %s, the watcher's %s; want one and none", terminal(prog), terminal(watcher))
	}
	keys.WriteString("\x03")
	s.waitFor("Ctrl-C has ended the program", func() bool { return firstLine(s.path("code")) == "130" })
	s.waitFor("the watcher has ended with its process", func() bool { return !watcher.alive() })
}

// Pid 1 is never signalled: that is said when it starts, not when it has grown too large at night.
func TestPid1IsWarnedOf(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	if out, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no pid namespaces here: %s", out)
	}
	if r := s.wants(0, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "memory-killer", "true"); !strings.Contains(r.stderr, "memory-killer: warning: this is pid 1") {
		s.Errorf("no warning: %s", r.stderr)
	}
	if r := s.wants(0, "memory-killer", "true"); strings.Contains(r.stderr, "pid 1") {
		s.Errorf("a warning where it is not pid 1: %s", r.stderr)
	}
}
