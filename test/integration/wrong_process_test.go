package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"testing"
	"time"
)

// identityFile is what pgexec -f writes of a process.
func identityFile(t *testing.T, p *harness.Child) string {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return p.ID() + "\n" + string(boot)
}

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
	identity := s.Write("pgid", identityFile(t, meant), 0o644)
	meant.Kill()
	<-meant.Done

	// The newcomer has its pid and leads a group of its own.
	s.nextTick()
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

// The identity file of pgexec stands for its process alone, when the pid is recycled by another pgexec too.
func TestIdentityFileOfARecycledLeader(t *testing.T) {
	t.Parallel()
	if !inPidNamespace(t) {
		return
	}
	s := newSandbox(t)
	first := s.Start(s.Command("pgexec", "-f", s.Path("first"), "sleep", "1000"))
	s.Eventually("pgexec has written its file", func() bool { return harness.FirstLine(s.Path("first")) != "" })
	if got := harness.FirstLine(s.Path("first")); got != first.ID() {
		s.Fatalf("pgexec wrote %q, want %q", got, first.ID())
	}
	first.Kill()
	<-first.Done

	s.nextTick()
	second := s.recycle(first.PID, "pgexec", "-f", s.Path("second"), "sh", "-c", "sleep 1000 & wait")
	members := s.groupOf(second, 2)
	s.Wants(0, "pgsignal", s.Path("first"), "TERM/1/KILL/1")
	for _, p := range members {
		if !p.Alive() {
			s.Errorf("signalled, though it is of the newer group: %v", p)
		}
	}
	s.Wants(0, "pgsignal", s.Path("second"), "KILL/5")
	s.Eventually("the second group is gone", func() bool { return len(harness.Group(second.PID)) == 0 })
}

// nextTick waits until a process that starts now has another start time than one that started before.
func (s *sandbox) nextTick() {
	s.Helper()
	for range 2 {
		before := uptime()
		s.Eventually("the clock ticks", func() bool { return uptime() != before })
	}
}

func uptime() string { return harness.FirstLine("/proc/uptime") } // in hundredths, as start times are

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
