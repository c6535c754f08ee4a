package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// identityFile is what pgexec -f writes of a process.
func identityFile(t *testing.T, p *child) string {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return p.id() + "\n" + string(boot)
}

// A pidfile that somebody else could have written is refused (111), and one that
// names no process has none (1): nothing is signalled.
func TestPidfiles(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	meant := s.start(s.command("sleep", "1000"))
	pid := fmt.Sprintln(meant.pid)
	gone := s.start(s.command("true"))
	<-gone.gone

	for _, c := range []struct {
		name string
		make func(file string)
		code int // of svpid; pgsignal has 0 instead of 1
		root bool
	}{
		{"one that holds the pid", func(f string) {}, 0, false},
		{"no newline", func(f string) { write(t, f, strings.TrimSpace(pid)) }, 0, false},
		{"an identity", func(f string) { write(t, f, identityFile(t, meant)) }, 0, false},
		{"an identity without a boot id", func(f string) { write(t, f, meant.id()+"\n") }, 1, false},
		{"a torn identity", func(f string) { write(t, f, identityFile(t, meant)[:len(meant.id())-1]) }, 1, false},
		{"a dead process", func(f string) { write(t, f, fmt.Sprintln(gone.pid)) }, 1, false},
		{"stale: older than the process", func(f string) { chtimes(t, f, time.Now().Add(-time.Hour)) }, 1, false},
		{"missing", func(f string) { os.Remove(f) }, 111, false},
		{"empty", func(f string) { write(t, f, "") }, 1, false},
		{"garbage", func(f string) { write(t, f, "sidekiq\n") }, 111, false},
		{"two pids", func(f string) { write(t, f, pid+pid) }, 111, false},
		{"pid 0", func(f string) { write(t, f, "0\n") }, 111, false},
		{"a negative pid", func(f string) { write(t, f, "-"+pid) }, 111, false},
		{"a number that is too large", func(f string) { write(t, f, "99999999999999999999\n") }, 111, false},
		{"a large file", func(f string) { write(t, f, strings.Repeat(pid, 100000)) }, 111, false},
		{"binary", func(f string) { write(t, f, "\x00\xff\x01\x00") }, 111, false},
		{"world-writable", func(f string) { os.Chmod(f, 0o666) }, 111, false},
		{"owned by someone else", func(f string) { os.Chown(f, nobody, nobody) }, 111, true},
		{"a symlink to a good one", func(f string) { os.Rename(f, f+"~"); os.Symlink(f+"~", f) }, 111, false},
		{"a FIFO", func(f string) { os.Remove(f); unix.Mkfifo(f, 0o600) }, 111, false},
		{"a socket", func(f string) { os.Remove(f); unix.Mknod(f, unix.S_IFSOCK|0o600, 0) }, 111, false},
		{"a device", func(f string) { os.Remove(f); unix.Mknod(f, unix.S_IFCHR|0o600, 1<<8|5) }, 111, true}, // /dev/zero
		{"an ordinary directory", func(f string) { os.Remove(f); os.Mkdir(f, 0o755) }, 111, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Getuid() != 0 {
				t.Skip("only root can give a file away")
			}
			s := &sandbox{T: t, dir: s.dir, mark: s.mark}
			file := s.write("pidfile", pid, 0o644)
			c.make(file)
			defer os.Remove(file)
			got := s.wants(c.code, "svpid", file)
			switch {
			case c.code == 0 && got.stdout != meant.id()+"\n":
				s.Errorf("svpid printed %q, want %q", got.stdout, meant.id())
			case c.code != 0 && (got.stdout != "" || !oneLineNaming(got.stderr, file)):
				s.Errorf("want one line on stderr that names %s, got\nstdout: %sstderr: %s", file, got.stdout, got.stderr)
			}
			s.wants(c.code, "rssprobe", file)
			if c.code != 0 {
				s.wants(map[int]int{1: 0, 111: 111}[c.code], "pgsignal", file, "TERM/1/KILL")
			}
			if !meant.alive() {
				s.Fatal("signalled")
			}
		})
	}
}

// To root a pidfile may belong to the user that the process runs as: that is who writes it.
func TestPidfileOfTheProcessOwner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can run a process as somebody else")
	}
	s := newSandbox(t)
	c := exec.Command("sleep", "1000")
	c.Env = append(os.Environ(), s.mark)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	file := s.write("pidfile", fmt.Sprintln(c.Process.Pid), 0o644)
	os.Chown(file, nobody, nobody)
	s.wants(0, "svpid", file)
	os.Chown(file, nobody-1, nobody)
	s.wants(111, "svpid", file)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func chtimes(t *testing.T, file string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

// oneLineNaming: a message is one line and says which thing it is about.
func oneLineNaming(stderr, what string) bool {
	return strings.Count(stderr, "\n") == 1 && strings.HasSuffix(stderr, "\n") && strings.Contains(stderr, filepath.Base(what))
}
