package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// s6 2.13 and later pass the process group of the dead run to finish; Debian's 2.11 does not, so run writes it to a file
// here, and finish passes on what it finds. The group ends whether the file of pgexec is there or not, and whether it names
// that process or another.
func TestFinishEndsTheGroupThatS6Names(t *testing.T) {
	t.Parallel()
	const leaves = `(trap "" HUP TERM; exec sleep 1000) & exec sleep 1000`
	for name, c := range map[string]struct{ run, finish string }{
		"no file":      {"exec sh -c '" + leaves + "'", "exec "},
		"its file":     {"exec pgexec -f supervise/pgid sh -c '" + leaves + "'", ""},
		"another file": {"{ echo 999:1; cat /proc/sys/kernel/random/boot_id; } >supervise/pgid\nexec sh -c '" + leaves + "'", ""},
		"two groups":   {"pgexec -f supervise/pgid sh -c '" + leaves + "' & exec sleep 1000", "exec "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.Write("svc/run", "#!/bin/sh\necho $$ >pid\n"+c.run+"\n", 0o755)
			s.Write("svc/finish", "#!/bin/sh\nread -r pgid <pid\n"+c.finish+"group-cleanup supervise/pgid \"$pgid\"\n", 0o755)
			v := s.s6Service("svc")
			leader := v.Running()
			n := 2
			if strings.HasPrefix(name, "two") {
				n = 3
			}
			members := s.sleepers(n)
			for _, p := range members {
				s.Cleanup(p.Kill)
			}
			syscall.Kill(leader.PID, syscall.SIGKILL)
			next := v.Running(leader)
			for _, p := range members {
				if p.Alive() {
					s.Errorf("left behind when the next one (%d) runs: %v", next.PID, p)
				}
			}
			s.sleepers(n) // those of the next one are named somewhere, too, and so end with it
		})
	}
}

// sleepers waits until so many processes of the test sleep, and returns them.
func (s *sandbox) sleepers(n int) (found []harness.Process) {
	s.Helper()
	s.Eventually(fmt.Sprintf("%d sleep", n), func() bool {
		found = nil
		for _, p := range s.Left() {
			if text := p.String(); strings.HasSuffix(text, "sleep 1000") && !strings.Contains(text, "sh -c") {
				found = append(found, p)
			}
		}
		return len(found) == n
	})
	return found
}

// s6Service starts s6-supervise over a service directory, with time for finish on a busy machine.
func (s *sandbox) s6Service(name string) *harness.S6 {
	s.Helper()
	s.Write(name+"/timeout-finish", "60000\n", 0o644)
	return s.S6(s.Path(name))
}

// Nothing is signalled by a number that is another process's by now, or that of a group older than the supervisor.
func TestFinishSparesGroupsOfOtherProcesses(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	older := s.Start(s.Command("sh", "-c", "sleep 1000 & exec sleep 1000")) // leads a group, and started before s6-supervise
	orphans := s.Start(s.Command("sh", "-c", "sleep 1000 & echo $! >orphan"))
	<-orphans.Done // a group without its leader
	orphan, _ := harness.FindProcess(s.pidIn("orphan"))
	s.Cleanup(orphan.Kill)
	s.waitATick()
	s.Write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	s.Write("svc/finish", "#!/bin/sh\nread -r pgid <given\ncode=0\ngroup-cleanup supervise/pgid $pgid 2>stderr || code=$?\necho $code >code.new && mv code.new code\n", 0o755)
	v := s.s6Service("svc")
	younger := s.Start(s.Command("sh", "-c", "sleep 1000 & exec sleep 1000")) // as a process that got the number since
	members := append(append(s.groupOf(older.Process, 2), s.groupOf(younger.Process, 2)...), orphan)
	var before []harness.Process
	for _, given := range []int{older.PID, orphans.PID, younger.PID, v.Process.PID, os.Getpid()} {
		s.Write("svc/given", fmt.Sprintln(given), 0o644)
		p := v.Running(before...)
		before = append(before, p)
		p.Kill()
		s.Eventually("finish has ended", func() bool { _, err := os.Stat(s.Path("svc/code")); return err == nil })
		if got := harness.FirstLine(s.Path("svc/code")); got != "0" {
			stderr, _ := os.ReadFile(s.Path("svc/stderr"))
			s.Errorf("PGID %d: exit %s, want 0\n%s", given, got, stderr)
		}
		os.Remove(s.Path("svc/code"))
		for _, m := range members {
			if !m.Alive() {
				s.Fatalf("PGID %d: signalled", given)
			}
		}
	}
	// By hand, under no s6-supervise, a group of any age ends, but only that of a dead leader.
	for _, given := range []harness.Process{older.Process, orphans.Process} {
		if r := s.Wants(0, "group-cleanup", s.Path("none"), fmt.Sprint(given.PID)); r.Stderr != "" {
			s.Errorf("by hand: %s", r.Stderr)
		}
	}
	if !older.Alive() || orphan.Alive() {
		s.Errorf("by hand: the group with a leader lives: %v, that without one: %v", older.Alive(), orphan.Alive())
	}
}

func (s *sandbox) pidIn(name string) int {
	s.Helper()
	pid, err := strconv.Atoi(harness.FirstLine(s.Path(name)))
	s.Check(err)
	return pid
}

// waitATick: what starts from now on has another start time than what has started.
func (s *sandbox) waitATick() {
	s.Helper()
	uptime := func() string { return harness.FirstLine("/proc/uptime") } // in hundredths, as start times are
	for range 2 {
		before := uptime()
		s.Eventually("the clock ticks", func() bool { return uptime() != before })
	}
}

// groupOf waits until a group has so many members, and returns them.
func (s *sandbox) groupOf(leader harness.Process, n int) (members []harness.Process) {
	s.Helper()
	s.Eventually(fmt.Sprintf("the group of %d has %d members", leader.PID, n), func() bool {
		members = harness.Group(leader.PID)
		return len(members) == n
	})
	s.Cleanup(func() {
		for _, p := range members {
			p.Kill()
		}
	})
	return members
}
