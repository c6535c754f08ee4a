package integration

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// startParent starts a command that has children. Its whole group is killed at the end of the test.
func (s *sandbox) startParent(c *exec.Cmd) *harness.Child {
	s.Helper()
	p := s.Start(c)
	s.Cleanup(func() { harness.KillAll(func() []harness.Process { return harness.Group(p.PID) }) })
	return p
}

// parentOf starts a process with so many children.
func (s *sandbox) parentOf(n int) *harness.Child {
	s.Helper()
	p := s.startParent(s.Command("sh", "-c", fmt.Sprintf("for i in $(seq %d); do sleep 1000 & done; >ready; wait", n)))
	s.Eventually("they are there", func() bool { return s.Exists("ready") })
	return p
}

// In whatever order the kernel lists the children of a parent with threads, each is watched once.
func TestChildrenOfThreadsAreWatchedOnce(t *testing.T) {
	s := newSandbox(t)
	// Each line on standard input is a child more, of the main thread and of another one in turns.
	c := s.Command("ruby", "--disable-gems", "-e", `child = -> { Process.spawn("sleep", "1000", in: "/dev/null") }
		while $stdin.gets
			$. % 2 == 0 ? child.call : Thread.new(&child).join
		end`)
	in, err := c.StdinPipe()
	s.Check(err)
	parent := s.startParent(c)
	w := s.Gracewatch("-S", "children", "-s", "1T", "-i", "20ms", parent.ID(), "true")
	w.Event("watching", 1)
	for n := 1; n <= 4; n++ {
		fmt.Fprintln(in, "another")
		w.Event("target-up", n)
	}
	w.Reads(10 * 15)
	for _, p := range s.sleepers(4) {
		w.Wants(p, "target-up")
	}
}

// Where descriptors are few, the children that can be watched are, and that others cannot is logged once.
func TestMoreChildrenThanDescriptors(t *testing.T) {
	s := newSandbox(t)
	parent := s.parentOf(12)
	w := s.Watch(s.Command("sh", "-c", `ulimit -n 40; exec "$@"`, "sh",
		"gracewatch", "-S", "children", "-s", "1", "-g", "1h", "-i", "20ms", parent.ID(), "true"))
	failed := w.Event("read-failed", 1)
	if !strings.Contains(failed.Line, "too many open files") {
		s.Errorf("want the cause: %s", failed.Line)
	}
	w.Event("over-soft", 1)
	w.Reads(10 * 20)
	if n, m := w.Count("read-failed"), w.Count("target-gone"); n != 1 || m != 0 {
		s.Errorf("%d read-failed, want one; %d target-gone, want none", n, m)
	}
}

// A watcher of 500 children has no more than 6 MB, of which more than 3 are its own binary, which stays resident.
func TestFiveHundredChildren(t *testing.T) {
	s := newSandbox(t)
	const children = 500
	parent := s.parentOf(children)
	w := s.Gracewatch("-S", "children", "-s", "1T", "-i", "100ms", parent.ID(), "true")
	w.Event("target-up", children)
	w.Reads(10 * (5 * children / 3))
	size := s.KB(w.Process)
	t.Logf("%d KB", size)
	if size > 6<<10 {
		s.Errorf("gracewatch has %d KB", size)
	}
	if n := w.Count("target-up"); n != children || w.Count("read-failed")+w.Count("target-gone") > 0 {
		s.Errorf("%d children are watched, want %d, and nothing else", n, children)
	}
}
