package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"testing"
	"time"
)

// A process that got the pid of the target is never signalled and never watched.
func TestRecycledPidIsNotTheProcess(t *testing.T) {
	t.Parallel()
	if !inPidNamespace(t) {
		return
	}
	s := newSandbox(t)
	meant := s.Start(s.Command("sleep", "1000"))
	pidfile := s.Write("pidfile", fmt.Sprintln(meant.PID), 0o644)
	aged := time.Now().Add(-time.Second)
	s.Check(os.Chtimes(pidfile, aged, aged))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	s.Check(err)
	identity := s.Write("pgid", meant.ID()+"\n"+string(boot), 0o644) // as pgexec -f writes it
	meant.Kill()
	<-meant.Done

	// The newcomer has its pid and leads a group of its own.
	s.waitATick()
	newcomer := s.recycle(meant.PID, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
	members := s.groupOf(newcomer, 3)
	if newcomer.ID() == meant.ID() {
		s.Fatalf("the same identity twice: %s", newcomer.ID())
	}

	for _, target := range []string{meant.ID(), pidfile, identity} {
		s.Wants(1, "svpid", target)
		s.Wants(1, "rssprobe", target)
		s.Wants(0, "pgsignal", target, "TERM/1/KILL")
		s.Wants(0, "pgsignal", "-p", target, "KILL")
		s.Wants(0, "pgsignal", target, "KILL@tree")
		s.Wants(1, "gracewatch", "-s", "1", "-g", "0", "-i", "10ms", target, "touch", s.Path("restarted"))
	}
	for _, p := range members {
		if !p.Alive() {
			s.Errorf("signalled, though it only has the pid: %v", p)
		}
	}
	if _, err := os.Stat(s.Path("restarted")); err == nil {
		s.Error("gracewatch restarted a process that only has the pid")
	}
	s.Wants(0, "svpid", newcomer.ID())
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
