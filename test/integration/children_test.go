package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gracekit/lib/watch"
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

// Each child has a timer of its own: one is over its limit, is restarted, and the others and the parent go on.
// Children are found as they come and go; one that ends by itself is no restart; the end of the parent is the end.
func TestEachChildIsWatchedForItself(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(3)
	w := s.gracewatch("-S", "children", "-s", f.limit(c[0]), "-g", "500ms", "-i", "20ms", f.id(), "pgsignal", "-p", "{}", "TERM/30")
	w.event("watching", 1)
	f.grow(c[1])
	begin := w.event("restart-begin", 1)
	w.event("restart-done", 1)
	w.wants(c[1], append(theWholeRestart, "target-gone")...)
	if begin.fields["id"] != c[1].id() || begin.fields["reason"] != "soft" || c[1].alive() {
		s.Errorf("want %s restarted: %s", c[1].id(), begin.line)
	}
	w.wants(c[0], "target-up")
	w.wants(c[2], "target-up")

	next := f.fork()
	w.wants(next, "target-up")
	c[0].kill()
	w.wants(c[0], "target-up", "target-gone")
	w.looksOn(5)
	if n := w.count("restart-begin"); n != 1 || !c[2].alive() || !next.alive() || !f.alive() {
		s.Errorf("%d restarts, want 1, and the parent and two children alive", n)
	}

	f.kill()
	<-w.gone
	if w.code != 1 {
		s.Errorf("its parent has ended: exit %d, want 1", w.code)
	}
	w.wants(f.process, "watching", "target-gone")
}

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

// One restart at a time; the next one waits until the parent has as many children as before.
func TestChildrenAreRestartedOneAtATime(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(2)
	w := s.gracewatch("-S", "children", "-s", f.limit(c[0]), "-g", "0", "-i", "20ms", "-r", "1h", f.id(),
		"sh", "-c", `pgsignal -p "$1" TERM/30; until [ -e go ]; do sleep 0.02; done`, "sh", "{}")
	w.event("watching", 1)
	f.grow(c...)
	w.event("over-soft", 2)
	first := w.event("restart-begin", 1)
	s.waitFor("the first is gone", func() bool { return !c[0].alive() || !c[1].alive() })
	w.looksOn(5)
	if n := w.count("restart-begin"); n != 1 {
		s.Fatalf("%d restarts at a time", n)
	}
	s.write("go", "", 0o644)
	w.event("restart-done", 1)
	w.looksOn(10)
	if n := w.count("restart-begin"); n != 1 {
		s.Fatal("the next began before the parent had replaced the first")
	}
	f.fork()
	second := w.event("restart-begin", 2)
	if first.fields["id"] == second.fields["id"] {
		s.Errorf("twice the same: %s", second.line)
	}
	w.event("restart-done", 2)
}

// A parent may have the next child before the program behind gracewatch has ended: then nothing is waited for.
func TestAChildThatIsReplacedEarly(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(2)
	w := s.gracewatch("-S", "children", "-s", f.limit(c[0]), "-g", "0", "-i", "20ms", "-r", "1h", f.id(),
		"sh", "-c", `pgsignal -p "$1" TERM/30; until [ -e go ]; do sleep 0.02; done`, "sh", "{}")
	w.event("watching", 1)
	f.grow(c...)
	w.event("restart-begin", 1)
	s.waitFor("the first is gone", func() bool { return !c[0].alive() || !c[1].alive() })
	w.wants(f.fork(), "target-up")
	s.write("go", "", 0o644)
	w.event("restart-begin", 2)
	w.event("restart-done", 2)
}

// Told to, gracewatch restarts all children, one at a time, and waits no longer for the parent than it takes, whatever the
// interval.
func TestAllChildrenAreRestartedWhenTold(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(3)
	w := s.gracewatch("-S", "children", "-s", "1T", "-i", "0", "-c", s.path("control"), "-r", "1h", f.id(), "pgsignal", "-p", "{}", "TERM/30")
	w.event("watching", 1)
	s.waitFor("it takes commands", func() bool { return os.WriteFile(s.path("control"), []byte("t"), 0) == nil })
	for i := range c {
		if begin := w.event("restart-begin", i+1); begin.fields["reason"] != "control" {
			s.Errorf("reason is %q, want control", begin.fields["reason"])
		}
		w.event("restart-done", i+1)
		f.fork()
	}
	for _, p := range c {
		w.wants(p, "target-up", "restart-begin", "restart-done", "target-gone")
	}
}

// A parent that replaces nothing holds the next one no longer than the retry time.
func TestAChildThatIsNotReplaced(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(2)
	w := s.gracewatch("-S", "children", "-s", f.limit(c[0]), "-g", "0", "-i", "20ms", "-r", "1", f.id(), "pgsignal", "-p", "{}", "TERM/30")
	w.event("watching", 1)
	small := time.Now() // events have the time at which they were read
	f.grow(c...)
	w.event("restart-done", 1)
	begin := w.event("restart-begin", 2)
	if took := begin.at.Sub(small); took < time.Second {
		s.Errorf("the next began %v after the first, want 1 s", took)
	}
	w.event("restart-done", 2)
}

// Children that are too old are restarted one at a time, each at its own time: its age and up to a tenth of that.
func TestOldChildrenAreReplacedInTurn(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(3)
	age := 3 * time.Second
	w := s.gracewatch("-S", "children", "-a", "3", "-i", "50ms", "-r", "1h", f.id(), "pgsignal", "-p", "{}", "TERM/30")
	for i := range c {
		begin := w.event("restart-begin", i+1)
		if begin.fields["reason"] != "age" {
			s.Errorf("reason is %q, want age", begin.fields["reason"])
		}
		old := c[slices.IndexFunc(c, func(p process) bool { return p.id() == begin.fields["id"] })]
		late := begin.at.Sub(old.born(s)) - age
		t.Logf("%s: %v after its age", old.id(), late)
		if late < -20*time.Millisecond {
			s.Errorf("%s was restarted %v before its age", old.id(), -late)
		}
		w.event("restart-done", i+1)
		f.fork()
	}
}

// born is when the process was started.
func (p process) born(s *sandbox) time.Time {
	ticks, err := strconv.ParseInt(p.start, 10, 64)
	if err != nil {
		s.Fatal(err)
	}
	now := time.Now() // before the uptime: what comes between the two makes it older, and "too early" no less true
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		s.Fatal(err)
	}
	var seconds float64
	fmt.Sscan(string(uptime), &seconds)
	return now.Add(-time.Duration(seconds*float64(time.Second)) + time.Duration(ticks)*10*time.Millisecond)
}

// A gracewatch that is killed and started again goes on with the timer of each child, and with the restart of the one.
func TestTheTimersOfChildrenRunOn(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	f, c := s.family(3)
	watched := func() *gracewatch {
		return s.gracewatch("-S", "children", "-f", s.path("state"), "-s", f.limit(c[1]), "-g", "2", "-i", "20ms", "-r", "1h", f.id(),
			"sh", "-c", `echo "$1" >>progs; until [ -e go ]; do sleep 0.02; done; pgsignal -p "$1" TERM/30`, "sh", "{}")
	}
	first := watched()
	first.event("watching", 1)
	small := time.Now() // an event has the time at which it was read: that it was over for 2 s is in over_s
	f.grow(c[0])
	first.event("over-soft", 1)
	s.noted(c[0], func(d watch.InstanceSnapshot) bool { return d.State.Over })
	first.kill()
	<-first.gone

	second := watched()
	begin := second.event("restart-begin", 1)
	if begin.fields["id"] != c[0].id() || second.count("over-soft") != 0 {
		s.Errorf("the timer did not go on: %s", begin.line)
	}
	if took := begin.at.Sub(small); took < 2*time.Second {
		s.Errorf("the restart began after %v, want 2 s", took)
	}
	if seconds, _ := strconv.ParseFloat(begin.fields["over_s"], 64); seconds < 2 {
		s.Errorf("over_s=%s, want 2: %s", begin.fields["over_s"], begin.line)
	}
	s.waitFor("its program runs", func() bool { return firstLine(s.path("progs")) == c[0].id() })
	second.kill()
	<-second.gone

	third := watched()
	third.event("watching", 1)
	s.write("go", "", 0o644)
	third.event("restart-done", 1)
	third.wants(c[0], "target-up", "restart-done", "target-gone")
	third.wants(c[1], "target-up")
	if text, _ := os.ReadFile(s.path("progs")); string(text) != c[0].id()+"\n" {
		s.Errorf("the program ran for %q, want once, for %s", text, c[0].id())
	}
}

// noted waits until the state file says something of a process.
func (s *sandbox) noted(p process, is func(watch.InstanceSnapshot) bool) {
	s.Helper()
	s.waitFor("the state of "+p.id()+" is noted", func() bool {
		text, _ := os.ReadFile(s.path("state"))
		var state watch.Snapshot
		return json.Unmarshal(text, &state) == nil && slices.ContainsFunc(state.Instances, func(d watch.InstanceSnapshot) bool {
			return d.ID == p.id() && is(d)
		})
	})
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
