package fault

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Taken down in the grace time, a service stays down: gracewatch says that its timer has stopped, and starts nothing.
func TestDownInTheGraceTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	_, l := s.watched("watch", target, "-g 8s -i 50ms -r 100ms", j.restarter())
	p := target.running(proc.ID{})
	s.grow(p, j)
	l.event("msg=over-soft", 1)
	s.must(target.tell("d"))
	l.event(`msg=target-gone .*why="the service is wanted down" stopped="the grace timer"`, 1)
	s.pass(9 * time.Second) // the grace time, and more
	if target.stat() != "down" || len(j.of("RESTART")) > 0 {
		s.Errorf("%s, %d restarts", target.stat(), len(j.of("RESTART")))
	}
	l.never("msg=restart-")
	s.must(target.tell("u"))
	l.event("msg=target-up", 1)
	s.grow(target.running(p.ID), j)
	l.event("msg=restart-done", 1) // on as ever
}

// pass lets time pass in which nothing must happen.
func (s *stage) pass(d time.Duration) { time.Sleep(d) }

// Taken down during its restart, a service is down when that is over, and stays so.
func TestDownDuringTheRestart(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker", "-ignore-term")
	prog := s.program(j, "", "-quiet 1h")
	_, l := s.watched("watch", target, "-g 0 -i 50ms -r 100ms", prog.name)
	p := target.running(proc.ID{})
	s.grow(p, j)
	j.event("QUIET", 1)
	s.must(target.tell("d"))
	j.event("IGNORED", 1)
	s.must(p.Signal(unix.SIGKILL))
	l.event("msg=restart-done", 1)
	l.event(`msg=target-gone .*why="the service is wanted down"`, 1)
	s.waitFor("it is down", func() bool { return target.stat() == "down" })
	s.pass(1500 * time.Millisecond) // runsv starts what it wants within a second
	if target.stat() != "down" || len(j.of("START")) != 1 {
		s.Errorf("%s after %d starts", target.stat(), len(j.of("START")))
	}
}

// The operator of an s6 service wins, too: s6-svc -d in the grace time, and while the process does not end.
func TestDownUnderS6(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if _, err := exec.LookPath("s6-supervise"); err != nil {
		s.Skip("s6-supervise is not installed: it is in Debian's package s6")
	}
	j := s.journal("worker.journal")
	s.write("worker/run", "#!/bin/sh\nexec worker serve -max 40000 -ignore-term "+j.file+"\n", 0o755)
	dir := s.path("worker")
	supervisor := s.start("s6.log", "s6-supervise", dir)
	s.Cleanup(func() {
		s.run("s6-svc", "-kxd", dir)
		s.waitFor("s6-supervise is gone", supervisor.Ended)
	})
	start := j.event("START", 1)
	p, err := proc.OpenID(start.id)
	s.must(err)
	defer p.Close()
	l := s.watch(dir, "-g 10s -i 50ms -r 200ms", j.restarter()) // s6-supervise notes what is wanted after it has signalled
	l.event("msg=watching", 1)
	s.grow(p, j)
	s.run("s6-svc", "-d", dir)
	l.event(`msg=restart-postponed .*why="the service is wanted down"`, 2)
	s.must(p.Signal(unix.SIGKILL))
	l.event(`msg=target-gone .*why="the service is wanted down"`, 1)
	s.run("s6-svc", "-u", dir)
	l.event("msg=target-up", 1)
	if len(j.of("RESTART")) > 0 {
		s.Error("restarted though down")
	}
}

// supervise deleted under a running gracewatch: nothing is started, which is said, and when it is made anew all is as before.
func TestSuperviseDeletedAndMadeAnew(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	p := target.running(proc.ID{})
	l := s.watch(target.dir, "-g 0 -i 50ms -r 200ms", j.restarter())
	l.event("id="+p.ID.String(), 1)
	s.waitFor("supervise is deleted", func() bool { // also while gracewatch keeps its state there
		return os.RemoveAll(target.dir+"/supervise") == nil
	})
	s.grow(p, j)
	l.event("msg=restart-postponed .*it has no supervise", 2)
	l.times("cannot keep the state", 1)
	if len(j.of("RESTART")) > 0 {
		s.Error("restarted though nothing would start it again")
	}
	s.must(target.sv.Signal(unix.SIGKILL)) // it does not find its own files either
	s.must(p.Signal(unix.SIGKILL))
	l.event("msg=target-gone", 1)
	target.supervise()
	s.Cleanup(target.exit) // before the new runsv is killed
	next := target.running(p.ID)
	l.event("msg=target-up .*id="+next.ID.String(), 1)
	s.grow(next, j)
	l.event("msg=restart-done", 1)
	j.restartedOnce(next.ID)
	if readSnapshot(s.path("worker/supervise/gracewatch")).Version == 0 {
		s.Error("the state is not kept again")
	}
	second := s.start("second.log", "gracewatch", "-s", "1", target.dir, "true")
	second.exits(111)
	second.event("locked by another gracewatch", 1)
}
