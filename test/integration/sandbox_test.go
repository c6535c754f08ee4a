package integration

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

// patience is how long an event that must come may take. The machine may be slow; only a fault takes this long.
const patience = 60 * time.Second

// A sandbox is the folder of one test and everything the test starts. When the test ends, nothing of it may be left.
type sandbox struct {
	*testing.T
	dir  string
	mark string

	mu       sync.Mutex
	sessions map[int]bool
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	dir, err := os.MkdirTemp("", "gk") // short: it holds unix sockets
	if err != nil {
		t.Fatal(err)
	}
	s := &sandbox{T: t, dir: dir, mark: "GRACEKIT_TEST_SANDBOX=" + filepath.Base(dir), sessions: map[int]bool{}}
	t.Cleanup(s.mustBeEmpty)
	return s
}

// mustBeEmpty runs last: what was started has been told to end by then.
func (s *sandbox) mustBeEmpty() {
	deadline := time.Now().Add(patience)
	for {
		left := processesWith(s.mark, s.sessions)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			for _, p := range left {
				s.Errorf("left behind: %v", p)
				p.kill()
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if s.Failed() {
		s.Logf("kept for inspection: %s", s.dir)
		return
	}
	os.RemoveAll(s.dir)
}

func (s *sandbox) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

func (s *sandbox) write(name, text string, mode os.FileMode) string {
	s.Helper()
	file := s.path(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		s.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask is
		s.Fatal(err)
	}
	return file
}

// log opens a file for what a supervisor says, shown when the test fails.
func (s *sandbox) log(name string) (stdout, stderr *os.File) {
	s.Helper()
	f, err := os.Create(s.path(name))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if text, _ := os.ReadFile(f.Name()); s.Failed() && len(text) > 0 {
			s.Logf("%s:\n%s", name, text)
		}
		f.Close()
	})
	return f, f
}

// command makes a command that runs in the sandbox's folder, with its mark.
func (s *sandbox) command(name string, args ...string) *exec.Cmd {
	s.Helper()
	s.need(name)
	c := exec.Command(name, args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), s.mark)
	return c
}

// debian has the package of each real thing.
var debian = map[string]string{"runsv": "runit", "s6-supervise": "s6", "s6-svc": "s6", "s6-svstat": "s6",
	"redis-server": "redis-server", "redis-cli": "redis-tools", "sidekiq": "ruby-sidekiq", "puma": "puma",
	"unicorn": "unicorn", "tini": "tini"}

// need skips a test whose real thing is not installed.
func (s *sandbox) need(name string) {
	s.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if debian[name] != "" {
		s.Skipf("%s is not installed: it is in Debian's package %s", name, debian[name])
	}
	s.Fatalf("there is no %s", name)
}

// A child is a process that the test itself has started, in a session of its own.
type child struct {
	process
	gone chan struct{} // closed when it has been waited for
	code int           // then
}

// start starts a command in a session of its own. It is killed at the end of the test, if it is still there.
func (s *sandbox) start(c *exec.Cmd) *child {
	s.Helper()
	c.SysProcAttr = ownSession
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	p, _ := look(c.Process.Pid)
	s.mu.Lock()
	s.sessions[c.Process.Pid] = true
	s.mu.Unlock()
	ch := &child{process: p, gone: make(chan struct{})}
	go func() {
		c.Wait()
		ch.code = c.ProcessState.ExitCode()
		close(ch.gone)
	}()
	s.Cleanup(func() {
		select {
		case <-ch.gone:
		default:
			ch.kill()
			<-ch.gone
		}
	})
	return ch
}

// A result is what a program said and how it ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a program to its end.
func (s *sandbox) run(name string, args ...string) result {
	s.Helper()
	return s.runCommand(s.command(name, args...))
}

func (s *sandbox) runCommand(c *exec.Cmd) result {
	s.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Start()
	if err == nil {
		timer := time.AfterFunc(patience, func() { c.Process.Kill() }) // not reaped yet: its pid is still its own
		err = c.Wait()
		timer.Stop()
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.Fatalf("%v: %v", c.Args, err)
	}
	return result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// wants runs a program and compares its exit code.
func (s *sandbox) wants(code int, name string, args ...string) result {
	s.Helper()
	r := s.run(name, args...)
	if r.code != code {
		s.Errorf("%s %s: exit %d, want %d\nstdout: %sstderr: %s", name, strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	return r
}

// waitFor waits until cond is true, and fails the test when that takes longer than patience.
func (s *sandbox) waitFor(what string, cond func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("after %v still not: %s", patience, what)
		}
	}
}
