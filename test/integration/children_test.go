package integration

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// parent starts a command that has children. Its whole group is killed at the end of the test.
func (s *sandbox) parent(c *exec.Cmd) *harness.Child {
	s.Helper()
	p := s.Start(c)
	s.Cleanup(func() { harness.KillAll(func() []harness.Process { return harness.Group(p.PID) }) })
	return p
}

// In whatever order the kernel lists the children of a parent with threads, each is watched once.
func TestChildrenOfThreadsAreWatchedOnce(t *testing.T) {
	s := newSandbox(t)
	// Each line on standard input is a child more, of the main thread and of another one in turns.
	c := s.Command("ruby", "--disable-gems", "-e", `$stdout.sync = true
		child = -> { puts Process.spawn("sleep", "1000", in: "/dev/null") }
		while $stdin.gets
			$. % 2 == 0 ? child.call : Thread.new(&child).join
		end`)
	in, err := c.StdinPipe()
	s.Check(err)
	c.Stdout, c.Stderr = s.Output("children")
	parent := s.parent(c)
	w := s.Gracewatch("-S", "children", "-s", "1T", "-i", "20ms", parent.ID(), "true")
	w.Event("watching", 1)
	var children []harness.Process
	for n := 1; n <= 4; n++ {
		fmt.Fprintln(in, "another")
		w.Event("target-up", n)
		var pids []string
		s.Eventually("its pid is printed", func() bool { pids = strings.Fields(s.Read("children")); return len(pids) == n })
		p, _ := harness.FindProcess(harness.PIDOf(pids[len(pids)-1] + ":"))
		children = append(children, p)
	}
	w.Reads(10 * 15)
	for _, p := range children {
		w.Wants(p, "target-up")
	}
}

// Where descriptors are few, the children that can be watched are, and that others cannot is logged once.
func TestMoreChildrenThanDescriptors(t *testing.T) {
	s := newSandbox(t)
	parent := s.parent(s.Command("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; >ready; wait"))
	s.Eventually("they are there", func() bool { return s.Exists("ready") })
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
	parent := s.parent(s.Command("sh", "-c", `i=0; while [ $i -lt "$1" ]; do sleep 1000 & i=$((i+1)); done; >ready; wait`,
		"sh", strconv.Itoa(children)))
	s.Eventually("they are there", func() bool { return s.Exists("ready") })
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
