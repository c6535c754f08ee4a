package integration

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// A process that got the pid of the target is never signalled and never watched.
func TestRecycledPidIsNotTheProcess(t *testing.T) {
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

// A leader that has died leaves its members behind: by its identity the group is still found.
func TestGroupOfADeadLeader(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	leader := s.start(s.command("sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000"))
	members := s.groupOf(leader.process, 3)
	leader.kill()
	<-leader.gone
	s.wants(1, "svpid", leader.id())
	s.wants(0, "pgsignal", leader.id(), "TERM/20/KILL/5")
	for _, p := range members {
		if p.alive() {
			s.Errorf("left of the group: %v", p)
		}
	}
}

// A target that leads no group is signalled alone: its group is its supervisor's.
func TestMemberIsSignalledAlone(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	leader := s.start(s.command("sh", "-c", "sleep 1000 & sleep 1000 & wait; wait; sleep 1000"))
	for _, p := range s.groupOf(leader.process, 3) {
		if p.pid == leader.pid {
			continue
		}
		r := s.wants(0, "pgsignal", p.id(), "KILL/20")
		if r.stderr == "" {
			s.Error("no warning that the target leads no group")
		}
		if p.alive() {
			s.Errorf("not signalled: %v", p)
		}
		break
	}
	if n := len(group(leader.pid)); n != 2 {
		s.Errorf("%d of the group live, want 2: its leader and its other member", n)
	}
}

// Who calls is never signalled, nor its group, nor process 1.
func TestNeverOneself(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	for _, script := range []string{
		"pgsignal $$ KILL", // the group of the caller
		"pgsignal 0 KILL",
		"pgsignal 1 WINCH", // harmless, should it be sent
		"pgsignal -- -1 WINCH",
	} {
		c := s.command("sh", "-c", script+"; code=$?; echo alive; exit $code")
		c.SysProcAttr = ownSession
		r := s.runCommand(c)
		if r.stdout != "alive\n" || r.code != 111 && r.code != 100 || r.stderr == "" {
			s.Errorf("%s: exit %d, want 100 or 111, and a message\nstdout: %sstderr: %s", script, r.code, r.stdout, r.stderr)
		}
	}
}

// Nor is the supervisor that the caller runs under.
func TestNeverTheSupervisor(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", `#!/bin/sh
code=0
pgsignal -p $PPID KILL || code=$?
echo $code >code.new
mv code.new code
exec sleep 1000
`, 0o755)
		v := start()
		s.waitFor("pgsignal has ended", func() bool { return firstLine(dir+"/code") != "" })
		if code := firstLine(dir + "/code"); code != "111" {
			s.Errorf("exit %s, want 111", code)
		}
		if !v.supervisor().alive() {
			s.Error("the supervisor was signalled")
		}
	})
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
