package integration

import (
	"fmt"
	"os"
	"testing"
	"time"
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

// A process that got the pid of the target is never signalled and never watched.
func TestRecycledPidIsNotTheProcess(t *testing.T) {
	t.Parallel()
	if !inPidNamespace(t) {
		return
	}
	s := newSandbox(t)
	meant := s.start(s.command("sleep", "1000"))
	pidfile := s.write("pidfile", fmt.Sprintln(meant.pid), 0o644)
	aged := time.Now().Add(-time.Second)
	if err := os.Chtimes(pidfile, aged, aged); err != nil {
		s.Fatal(err)
	}
	identity := s.write("pgid", identityFile(t, meant), 0o644)
	meant.kill()
	<-meant.gone

	// The newcomer has its pid and leads a group of its own.
	s.nextTick()
	newcomer := s.recycle(meant.pid, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
	members := s.groupOf(newcomer, 3)
	if newcomer.id() == meant.id() {
		s.Fatalf("the same identity twice: %s", newcomer.id())
	}

	for _, target := range []string{meant.id(), pidfile, identity} {
		s.wants(1, "svpid", target)
		s.wants(1, "rssprobe", target)
		s.wants(0, "pgsignal", target, "TERM/1/KILL")
		s.wants(0, "pgsignal", "-p", target, "KILL")
		s.wants(0, "pgsignal", target, "KILL@tree")
		s.wants(1, "gracewatch", "-s", "1", "-g", "0", "-i", "10ms", target, "touch", s.path("restarted"))
	}
	for _, p := range members {
		if !p.alive() {
			s.Errorf("signalled, though it only has the pid: %v", p)
		}
	}
	if _, err := os.Stat(s.path("restarted")); err == nil {
		s.Error("gracewatch restarted a process that only has the pid")
	}
	s.wants(0, "svpid", newcomer.id())
}

// The identity file of pgexec stands for its process alone, when the pid is recycled by another pgexec too.
func TestIdentityFileOfARecycledLeader(t *testing.T) {
	t.Parallel()
	if !inPidNamespace(t) {
		return
	}
	s := newSandbox(t)
	first := s.start(s.command("pgexec", "-f", s.path("first"), "sleep", "1000"))
	s.waitFor("pgexec has written its file", func() bool { return firstLine(s.path("first")) != "" })
	if got := firstLine(s.path("first")); got != first.id() {
		s.Fatalf("pgexec wrote %q, want %q", got, first.id())
	}
	first.kill()
	<-first.gone

	s.nextTick()
	second := s.recycle(first.pid, "pgexec", "-f", s.path("second"), "sh", "-c", "sleep 1000 & wait")
	members := s.groupOf(second, 2)
	s.wants(0, "pgsignal", s.path("first"), "TERM/1/KILL/1")
	for _, p := range members {
		if !p.alive() {
			s.Errorf("signalled, though it is of the newer group: %v", p)
		}
	}
	s.wants(0, "pgsignal", s.path("second"), "KILL/5")
	s.waitFor("the second group is gone", func() bool { return len(group(second.pid)) == 0 })
}

// nextTick waits until a process that starts now has another start time than one that started before.
func (s *sandbox) nextTick() {
	s.Helper()
	for range 2 {
		before := uptime()
		s.waitFor("the clock ticks", func() bool { return uptime() != before })
	}
}

func uptime() string { return firstLine("/proc/uptime") } // in hundredths, as start times are

// groupOf waits until a group has so many members, and returns them.
func (s *sandbox) groupOf(leader process, n int) (members []process) {
	s.Helper()
	s.waitFor(fmt.Sprintf("the group of %d has %d members", leader.pid, n), func() bool {
		members = group(leader.pid)
		return len(members) == n
	})
	s.Cleanup(func() {
		for _, p := range members {
			p.kill()
		}
	})
	return members
}
