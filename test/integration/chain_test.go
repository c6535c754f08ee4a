package integration

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/test/harness"
)

// openFiles are those of a process, by descriptor.
func openFiles(p harness.Process) map[string]string {
	files := map[string]string{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.PID))
	for _, l := range links {
		files[filepath.Base(l)], _ = os.Readlink(l)
	}
	return files
}

// The watcher that memory-killer PROG leaves shares nothing with the program but stderr, and has no terminal.
func TestAWatcherSharesNothingButStderrWithItsProgram(t *testing.T) {
	s := newSandbox(t)
	lock, err := os.Create(s.Path("lock"))
	s.Check(err)
	s.Check(unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	ready, readyWriter := s.pipe()
	logger, stdout := s.pipe()

	c := s.Command("env", "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=100000000",
		"pgexec", "-s", "memory-killer", "sh", "-c", `trap "" HUP; exec sleep 1000`)
	c.Stdin, c.Stdout = logger, stdout
	_, c.Stderr = s.Output("stderr")
	c.ExtraFiles = make([]*os.File, 198)
	c.ExtraFiles[0], c.ExtraFiles[197] = readyWriter, lock // 3, 200
	prog := s.Start(c)
	for _, f := range []*os.File{readyWriter, stdout, lock} {
		f.Close()
	}
	var watcher harness.Process
	s.Eventually(fmt.Sprintf("process %d is watched", prog.PID), func() bool {
		for _, p := range s.Left() {
			if title := p.Title(); strings.HasPrefix(title, "gracewatch\x00") && strings.Contains(title, "\x00"+prog.ID()+"\x00") {
				watcher = p
			}
		}
		return watcher.PID != 0
	})
	s.Eventually("the program runs", func() bool { return strings.HasPrefix(prog.Process.Title(), "sleep") })

	mine := openFiles(prog.Process)
	for _, fd := range []string{"3", "200"} {
		if mine[fd] == "" {
			s.Errorf("the program has lost its descriptor %s", fd)
		}
	}
	for fd, file := range openFiles(watcher) {
		shared := slices.Contains([]string{mine["0"], mine["1"], mine["3"], mine["200"]}, file)
		if shared || fd == "2" && file != mine["2"] {
			s.Errorf("descriptor %s of the watcher is %s; the program has %v", fd, file, mine)
		}
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", watcher.PID)); cwd != "/" {
		s.Errorf("the watcher works in %s", cwd)
	}
	if watcher.SID != watcher.PID || watcher.PGID != watcher.PID || watcher.PPID == prog.PID {
		s.Errorf("no session of its own: %v", watcher)
	}
	if left := strings.TrimSpace(prog.File(fmt.Sprintf("task/%d/children", prog.PID))); left != "" { // zombies, too
		s.Errorf("the program has children that it knows nothing of: %s", left)
	}
	s.Check(syscall.Kill(-prog.PID, syscall.SIGHUP)) // as from a terminal that is closed

	// What the program had open is closed when it ends, even if its watcher cannot exit.
	syscall.Kill(watcher.PID, syscall.SIGSTOP)
	s.Eventually("the watcher is stopped", func() bool { w, _ := harness.FindProcess(watcher.PID); return w.State == 'T' })
	prog.Kill()
	for name, r := range map[string]*os.File{"3": ready, "1": logger} {
		r.SetReadDeadline(time.Now().Add(harness.Patience))
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			s.Errorf("descriptor %s is still open: %v", name, err)
		}
	}
	s.Wants(0, "flock", "-w", "120", s.Path("lock"), "true")
	syscall.Kill(watcher.PID, syscall.SIGCONT)
	s.Eventually("the watcher has ended with its process", func() bool { return !watcher.Alive() })
}

// pipe is closed at the end of the test, if not before.
func (s *sandbox) pipe() (r, w *os.File) {
	s.Helper()
	r, w, err := os.Pipe()
	s.Check(err)
	s.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
