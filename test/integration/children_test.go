package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A family is testdata/family.rb: a parent, and children that share its memory.
type family struct {
	*child
	s     *sandbox
	in    io.Writer
	lines *bufio.Scanner
}

// testdata is the absolute path of a file of testdata.
func (s *sandbox) testdata(name string) string {
	s.Helper()
	file, err := filepath.Abs("testdata/" + name)
	if err != nil {
		s.Fatal(err)
	}
	return file
}

func (s *sandbox) family(children int) (f *family, born []process) {
	s.Helper()
	c := s.command("ruby", "--disable-gems", s.testdata("family.rb"))
	in, err := c.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	r, w, err := os.Pipe() // StdoutPipe is closed by Wait, which start calls
	if err != nil {
		s.Fatal(err)
	}
	c.Stdout = w
	f = &family{s.start(c), s, in, bufio.NewScanner(r)}
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

func (f *family) fork() process   { return f.bear("fork") }
func (f *family) thread() process { return f.bear("thread") }

func (f *family) bear(command string) process {
	f.s.Helper()
	text, ok := strings.CutPrefix(f.says(command), "child ")
	pid, err := strconv.Atoi(text)
	if !ok || err != nil {
		f.s.Fatalf("family: %q, %v", text, err)
	}
	p, alive := look(pid)
	if !alive {
		f.s.Fatalf("child %d is gone", pid)
	}
	return p
}

// grow has a child grow by 64 MB.
func (f *family) grow(children ...process) {
	for _, p := range children {
		syscall.Kill(p.pid, syscall.SIGUSR1)
	}
}

// limit is a soft limit that a child is over once it has grown.
func (f *family) limit(child process) string {
	f.s.Helper()
	return fmt.Sprint(f.s.kb(child) + 32*1024)
}

// of is what was said of a process, in order.
func (w *gracewatch) of(p process) (names []string) {
	for _, e := range w.seen() {
		if e.fields["id"] == p.id() {
			names = append(names, e.name)
		}
	}
	return names
}

// wants waits until that, and nothing else, was said of a process.
func (w *gracewatch) wants(p process, names ...string) {
	w.s.Helper()
	w.s.waitFor(fmt.Sprintf("%s: %v", p.id(), names), func() bool { return len(w.of(p)) >= len(names) })
	if got := w.of(p); !slices.Equal(got, names) {
		w.s.Errorf("of %s was said %v, want %v", p.id(), got, names)
	}
}

// looksOn waits until it has made so many more checks of a few children.
func (w *gracewatch) looksOn(checks int) {
	w.s.Helper()
	reads := func() (n int) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", w.pid))
		if err == nil {
			_, rest, _ := strings.Cut(string(text), "syscr: ")
			_, err = fmt.Sscan(rest, &n)
		}
		if err != nil {
			w.s.Fatal(err)
		}
		return n
	}
	const each = 10 // a check of three children is about that many
	before := reads()
	w.s.waitFor(fmt.Sprintf("%d checks", checks), func() bool { return reads() > before+each*checks })
}

var theWholeRestart = []string{"target-up", "over-soft", "grace-over", "restart-begin", "restart-done"}

// In whatever order the kernel lists the children of a parent with threads, each is met once.
func TestChildrenOfThreadsAreMetOnce(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(1)
	w := s.gracewatch("-S", "children", "-s", f.limit(c[0]), "-g", "1h", "-i", "20ms", f.id(), "true")
	w.event("target-up", 1)
	for _, bear := range []func() process{f.thread, f.fork, f.thread, f.fork} {
		c = append(c, bear())
		w.wants(c[len(c)-1], "target-up")
	}
	f.grow(c[1], c[2])
	w.event("over-soft", 2)
	w.looksOn(20)
	for i, p := range c {
		if i == 1 || i == 2 {
			w.wants(p, "target-up", "over-soft")
		} else {
			w.wants(p, "target-up")
		}
	}
}

// Where descriptors are few, the children that can be watched are, and that others cannot is told once.
func TestMoreChildrenThanDescriptors(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(12)
	w := s.watchedBy(s.command("sh", "-c", `ulimit -n 40; exec "$@"`, "sh",
		"gracewatch", "-S", "children", "-s", f.limit(c[0]), "-g", "1h", "-i", "20ms", f.id(), "true"))
	failed := w.event("read-failed", 1)
	if !strings.Contains(failed.line, "too many open files") {
		s.Errorf("want it to say why: %s", failed.line)
	}
	f.grow(c[0])
	w.wants(c[0], "target-up", "over-soft")
	w.looksOn(20)
	if n, m := w.count("read-failed"), w.count("target-gone"); n != 1 || m != 0 {
		s.Errorf("read-failed was said %d times, want once; target-gone %d times, want never", n, m)
	}
}

// A watcher of 500 children has no more than 6 MB, of which more than 3 are its own binary, which stays resident.
func TestFiveHundredChildren(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const children = 500
	c := s.command("sh", "-c", `i=0; while [ $i -lt "$1" ]; do sleep 1000 & i=$((i+1)); done; >ready; read -r end; trap "" TERM; kill 0`,
		"sh", strconv.Itoa(children))
	in, err := c.StdinPipe()
	if err != nil {
		s.Fatal(err)
	}
	parent := s.start(c)
	s.Cleanup(func() { in.Close(); <-parent.gone })
	s.waitFor("they are there", func() bool { _, err := os.Stat(s.path("ready")); return err == nil })
	w := s.gracewatch("-S", "children", "-s", "1T", "-i", "100ms", parent.id(), "true")
	w.event("target-up", children)
	w.looksOn(5 * children / 3)
	size := s.kb(w.process)
	t.Logf("%d KB", size)
	if size > 6<<10 {
		s.Errorf("gracewatch has %d KB", size)
	}
	if n := w.count("target-up"); n != children || w.count("read-failed")+w.count("target-gone") > 0 {
		s.Errorf("%d children were met, want %d, and nothing else", n, children)
	}
}
