package integration

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"gracekit/test/harness"
)

// s6Service starts s6-supervise over a service directory, with time for finish on a busy machine.
func (s *sandbox) s6Service(name string) *harness.S6 {
	s.Helper()
	s.Write(name+"/timeout-finish", "60000\n", 0o644)
	return s.S6(s.Path(name))
}

// sleepers waits until so many processes of the test run sleep 1000, and returns them. They are killed at the end of the test.
func (s *sandbox) sleepers(n int) (found []harness.Process) {
	s.Helper()
	s.Eventually(fmt.Sprintf("%d sleep", n), func() bool {
		found = slices.DeleteFunc(s.Left(), func(p harness.Process) bool { return p.Title() != "sleep\x001000" })
		return len(found) == n
	})
	for _, p := range found {
		s.Cleanup(p.Kill)
	}
	return found
}

// s6 2.13 and later pass the process group of the dead run to finish; Debian's 2.11 does not, so run writes it to a file
// here, and finish passes on what it finds. The group ends whether the file of pgexec is there or not, and whether it names
// that process or another.
func TestFinishEndsTheGroupThatS6Names(t *testing.T) {
	t.Parallel()
	const leaves = `(trap "" HUP TERM; exec sleep 1000) & exec sleep 1000`
	for name, c := range map[string]struct {
		run, finish string
		sleepers    int
	}{
		"no file":      {"exec sh -c '" + leaves + "'", "exec ", 2},
		"its file":     {"exec pgexec -f supervise/pgid sh -c '" + leaves + "'", "", 2},
		"another file": {"{ echo 999:1; cat /proc/sys/kernel/random/boot_id; } >supervise/pgid\nexec sh -c '" + leaves + "'", "", 2},
		"two groups":   {"pgexec -f supervise/pgid sh -c '" + leaves + "' & exec sleep 1000", "exec ", 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			s.Script("svc/run", "echo $$ >pid\n"+c.run+"\n")
			s.Script("svc/finish", "read -r pgid <pid\n"+c.finish+"group-cleanup supervise/pgid \"$pgid\"\n")
			v := s.s6Service("svc")
			leader := v.Running()
			members := s.sleepers(c.sleepers)
			leader.Kill()
			v.Running(leader)
			s.haveEnded(members...)
			s.sleepers(c.sleepers) // those of the next one are named somewhere, too, and so end with it
		})
	}
}

// Nothing is signalled by a number that is another process's by now, or that of a group older than the supervisor.
func TestFinishSparesGroupsOfOtherProcesses(t *testing.T) {
	s := newSandbox(t)
	older := s.Start(s.Command("sh", "-c", "sleep 1000 & exec sleep 1000")) // leads a group, and started before s6-supervise
	orphans := s.Start(s.Command("sh", "-c", "sleep 1000 &"))
	<-orphans.Done // a group without its leader
	last := s.Start(s.Command("true")).StartTime
	s.Eventually("what starts now is younger", func() bool { return s.Start(s.Command("true")).StartTime != last })
	s.Script("svc/run", "exec sleep 2000\n")
	s.Script("svc/finish", "group-cleanup supervise/pgid $(cat given) 2>stderr\necho $? >code.new && mv code.new code\n")
	v := s.s6Service("svc")
	younger := s.Start(s.Command("sh", "-c", "sleep 1000 & exec sleep 1000")) // as a process that got the number since
	members := s.sleepers(5)
	var before []harness.Process
	for _, given := range []int{older.PID, orphans.PID, younger.PID, v.Process.PID, os.Getpid()} {
		s.Write("svc/given", fmt.Sprintln(given), 0o644)
		p := v.Running(before...)
		before = append(before, p)
		p.Kill()
		s.Eventually("finish has ended", func() bool { return s.Exists("svc/code") })
		if code := s.Read("svc/code"); code != "0\n" {
			s.Errorf("PGID %d: exit %s, want 0\n%s", given, code, s.Read("svc/stderr"))
		}
		os.Remove(s.Path("svc/code"))
		for _, m := range members {
			if !m.Alive() {
				s.Fatalf("PGID %d: signalled %v", given, m)
			}
		}
	}
	// By hand, under no s6-supervise, a group of any age ends, but only that of a dead leader.
	for _, given := range []*harness.Child{older, orphans} {
		if r := s.Wants(0, "group-cleanup", s.Path("none"), fmt.Sprint(given.PID)); r.Stderr != "" {
			s.Errorf("by hand: %s", r.Stderr)
		}
	}
	if left := harness.Group(orphans.PID); len(left) > 0 || !older.Alive() {
		s.Errorf("by hand: the group with a leader lives: %v, of that without one are left: %v", older.Alive(), left)
	}
}
