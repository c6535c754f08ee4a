package harness

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A World is the folder of one test and everything the test starts. When the test ends, nothing of it may be left.
type World struct {
	*testing.T
	Dir  string
	Mark string // in the environment of all that it starts

	mu       sync.Mutex
	sessions map[int]bool
}

func New(t *testing.T) *World {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv(RunVariable), "w")
	if err != nil {
		t.Fatal(err)
	}
	w := &World{T: t, Dir: dir, Mark: "GRACEKIT_TEST_WORLD=" + dir, sessions: map[int]bool{}}
	t.Cleanup(w.mustBeEmpty)
	return w
}

// mustBeEmpty runs last: all that was started is ending by then.
func (w *World) mustBeEmpty() {
	if !await(func() bool { return len(w.Left()) == 0 }) {
		for _, p := range w.Left() {
			w.Errorf("left behind: %v", p)
		}
		KillAll(w.Left)
	}
	if w.Failed() {
		w.Logf("kept for inspection: %s", w.Dir)
		return
	}
	os.RemoveAll(w.Dir)
}

// Left is what lives of all that the test has started.
func (w *World) Left() []Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return ProcessesOf(w.Mark, w.Dir, w.sessions)
}

func (w *World) Path(name ...string) string {
	return filepath.Join(append([]string{w.Dir}, name...)...)
}

// Check ends the test by an error.
func (w *World) Check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Write writes a file of that mode, under any umask, and makes its folder.
func (w *World) Write(name, text string, mode os.FileMode) string {
	w.Helper()
	file := w.Path(name)
	w.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	w.Check(os.WriteFile(file, []byte(text), mode))
	w.Check(os.Chmod(file, mode))
	return file
}

// Script writes a program.
func (w *World) Script(name, text string) string {
	w.Helper()
	return w.Write(name, "#!/bin/sh\n"+text, 0o755)
}

// Read is the text of a file; empty if there is none.
func (w *World) Read(name string) string {
	text, _ := os.ReadFile(w.Path(name))
	return string(text)
}

// FirstLine is that of a file; empty if there is none.
func FirstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func (w *World) Mkdir(folders ...string) {
	w.Helper()
	for _, f := range folders {
		w.Check(os.MkdirAll(w.Path(f), 0o755))
	}
}

func (w *World) Link(to, name string) {
	w.Helper()
	w.Check(os.Symlink(to, w.Path(name)))
}

// Exists tells whether there is something of that name.
func (w *World) Exists(name string) bool {
	_, err := os.Lstat(w.Path(name))
	return err == nil
}

// Output opens a file for what a supervisor prints, shown when the test fails.
func (w *World) Output(name string) (stdout, stderr *os.File) {
	w.Helper()
	f, err := os.OpenFile(w.Path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	w.Check(err)
	w.Show(name)
	w.Cleanup(func() { f.Close() })
	return f, f
}

// Show shows a file when the test fails.
func (w *World) Show(name string) {
	w.Cleanup(func() {
		if text := w.Read(name); w.Failed() && text != "" {
			w.Logf("%s:\n%s", name, text)
		}
	})
}

// Command makes a command that runs in the world's folder, with its mark.
func (w *World) Command(name string, args ...string) *exec.Cmd {
	w.Helper()
	w.Need(name)
	c := exec.Command(name, args...)
	c.Dir = w.Dir
	c.Env = append(os.Environ(), w.Mark)
	return c
}

// debian has the package of each real thing.
var debian = map[string]string{"runsv": "runit", "runsvdir": "runit", "chpst": "runit", "s6-supervise": "s6", "s6-svscan": "s6", "s6-svc": "s6",
	"s6-svstat": "s6", "redis-server": "redis-server", "redis-cli": "redis-tools", "sidekiq": "ruby-sidekiq", "openssl": "openssl", "puma": "puma", "unicorn": "unicorn",
	"dumb-init": "dumb-init", "tini": "tini", "curl": "curl"}

// Need skips a test whose real thing is not installed.
func (w *World) Need(name string) {
	w.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if debian[name] != "" {
		w.Skipf("%s is not installed: it is in Debian's package %s", name, debian[name])
	}
	w.Fatalf("there is no %s", name)
}

// NeedRoot skips what only root can do.
func (w *World) NeedRoot() {
	w.Helper()
	if os.Geteuid() != 0 {
		w.Skip("only root may do this")
	}
}

// NeedThat skips a test on a machine where a command of root's does not work.
func (w *World) NeedThat(name string, args ...string) {
	w.Helper()
	w.NeedRoot()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		w.Skipf("this machine does not allow %s %v: %v: %s", name, args, err, out)
	}
}

// Start starts a command in a session of its own. It is killed at the end of the test, if it is still there.
func (w *World) Start(c *exec.Cmd) *Child {
	w.Helper()
	if c.SysProcAttr == nil {
		c.SysProcAttr = OwnSession
	}
	ch, err := startChild(c)
	w.Check(err)
	w.Adopt(ch.Process)
	w.Cleanup(ch.end)
	return ch
}

// Adopt has the session of a process end with the world, too: its title may have overwritten the mark.
func (w *World) Adopt(p Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if own, _ := FindProcess(os.Getpid()); p.SID != own.SID {
		w.sessions[p.SID] = true
	}
}

// Exits waits for the end of a child, which must exit so.
func (w *World) Exits(c *Child, code int) {
	w.Helper()
	if !Happens(c.Done, Patience) {
		w.Fatalf("it has not ended: %v", c)
	}
	if c.Code != code {
		w.Errorf("exit %d, want %d", c.Code, code)
	}
}

// A Result is what a program printed and how it ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a program to its end.
func (w *World) Run(name string, args ...string) Result {
	w.Helper()
	return w.RunCommand(w.Command(name, args...))
}

func (w *World) RunCommand(c *exec.Cmd) Result {
	w.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Start()
	if err == nil {
		timer := time.AfterFunc(Patience, func() { c.Process.Kill() }) // not reaped yet: its pid is still its own
		err = c.Wait()
		timer.Stop()
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatalf("%v: %v", c.Args, err)
	}
	return Result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Wants runs a program and compares its exit code.
func (w *World) Wants(code int, name string, args ...string) Result {
	w.Helper()
	r := w.Run(name, args...)
	if r.Code != code {
		w.Errorf("%s %s: exit %d, want %d\nstdout: %sstderr: %s", name, strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Must runs a tool of the test itself.
func (w *World) Must(name string, args ...string) {
	w.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		w.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
