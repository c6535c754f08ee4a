package integration

import (
	"bufio"
	"fmt"
	"gracekit/test/harness"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A family is testdata/family.rb: a parent, and children that share its memory.
type family struct {
	*harness.Child
	s     *sandbox
	in    io.Writer
	lines *bufio.Scanner
}

// testdata is the absolute path of a file of testdata.
func (s *sandbox) testdata(name string) string {
	s.Helper()
	file, err := filepath.Abs("testdata/" + name)
	s.Check(err)
	return file
}

func (s *sandbox) family(children int) (f *family, born []harness.Process) {
	s.Helper()
	c := s.Command("ruby", "--disable-gems", s.testdata("family.rb"))
	in, err := c.StdinPipe()
	s.Check(err)
	r, w, err := os.Pipe() // StdoutPipe is closed by Wait, which start calls
	s.Check(err)
	c.Stdout = w
	f = &family{s.Start(c), s, in, bufio.NewScanner(r)}
	w.Close()
	s.Cleanup(func() { r.Close() })
	for range children {
		born = append(born, f.fork())
	}
	return f, born
}

// says gives a command, and waits for the line that answers it.
func (f *family) says(command string) string {
	f.s.Helper()
	fmt.Fprintln(f.in, command)
	if !f.lines.Scan() {
		f.s.Fatalf("family: no answer to %q: %v", command, f.lines.Err())
	}
	return f.lines.Text()
}

func (f *family) fork() harness.Process   { return f.bear("fork") }
func (f *family) thread() harness.Process { return f.bear("thread") }

func (f *family) bear(command string) harness.Process {
	f.s.Helper()
	text, ok := strings.CutPrefix(f.says(command), "child ")
	pid, err := strconv.Atoi(text)
	if !ok || err != nil {
		f.s.Fatalf("family: %q, %v", text, err)
	}
	p, alive := harness.FindProcess(pid)
	if !alive {
		f.s.Fatalf("child %d is gone", pid)
	}
	return p
}

// grow has a child grow by 64 MB.
func (f *family) grow(children ...harness.Process) {
	for _, p := range children {
		syscall.Kill(p.PID, syscall.SIGUSR1)
	}
}

// limit is a soft limit that a child is over once it has grown.
func (f *family) limit(child harness.Process) string {
	f.s.Helper()
	return fmt.Sprint(f.s.KB(child) + 32*1024)
}

// In whatever order the kernel lists the children of a parent with threads, each is watched once.
func TestChildrenOfThreadsAreWatchedOnce(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(1)
	w := s.Gracewatch("-S", "children", "-s", f.limit(c[0]), "-g", "1h", "-i", "20ms", f.ID(), "true")
	w.Event("target-up", 1)
	for _, bear := range []func() harness.Process{f.thread, f.fork, f.thread, f.fork} {
		c = append(c, bear())
		w.Wants(c[len(c)-1], "target-up")
	}
	f.grow(c[1], c[2])
	w.Event("over-soft", 2)
	w.Reads(10 * (20))
	for i, p := range c {
		if i == 1 || i == 2 {
			w.Wants(p, "target-up", "over-soft")
		} else {
			w.Wants(p, "target-up")
		}
	}
}

// Where descriptors are few, the children that can be watched are, and that others cannot is logged once.
func TestMoreChildrenThanDescriptors(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(12)
	w := s.Watch(s.Command("sh", "-c", `ulimit -n 40; exec "$@"`, "sh",
		"gracewatch", "-S", "children", "-s", f.limit(c[0]), "-g", "1h", "-i", "20ms", f.ID(), "true"))
	failed := w.Event("read-failed", 1)
	if !strings.Contains(failed.Line, "too many open files") {
		s.Errorf("want it to say why: %s", failed.Line)
	}
	f.grow(c[0])
	w.Wants(c[0], "target-up", "over-soft")
	w.Reads(10 * (20))
	if n, m := w.Count("read-failed"), w.Count("target-gone"); n != 1 || m != 0 {
		s.Errorf("read-failed was said %d times, want once; target-gone %d times, want never", n, m)
	}
}

// A watcher of 500 children has no more than 6 MB, of which more than 3 are its own binary, which stays resident.
func TestFiveHundredChildren(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const children = 500
	c := s.Command("sh", "-c", `i=0; while [ $i -lt "$1" ]; do sleep 1000 & i=$((i+1)); done; >ready; read -r end; trap "" TERM; kill 0`,
		"sh", strconv.Itoa(children))
	in, err := c.StdinPipe()
	s.Check(err)
	parent := s.Start(c)
	s.Cleanup(func() { in.Close(); <-parent.Done })
	s.Eventually("they are there", func() bool { _, err := os.Stat(s.Path("ready")); return err == nil })
	w := s.Gracewatch("-S", "children", "-s", "1T", "-i", "100ms", parent.ID(), "true")
	w.Event("target-up", children)
	w.Reads(10 * (5 * children / 3))
	size := s.KB(w.Process)
	t.Logf("%d KB", size)
	if size > 6<<10 {
		s.Errorf("gracewatch has %d KB", size)
	}
	if n := w.Count("target-up"); n != children || w.Count("read-failed")+w.Count("target-gone") > 0 {
		s.Errorf("%d children were met, want %d, and nothing else", n, children)
	}
}
