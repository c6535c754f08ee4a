package fault

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// A program is one whose flags can be changed while gracewatch runs.
type program struct {
	s    *stage
	name string
}

// program makes a restarter from a script that may do something first.
func (s *stage) program(j journal, before, flags string) program {
	s.Helper()
	p := program{s, s.write("prog", "#!/bin/sh\n"+before+"\nexec worker restart $(cat "+s.path("flags")+") "+j.file+"\n", 0o755)}
	p.is(flags)
	return p
}

func (p program) is(flags string) { p.s.Helper(); p.s.write("flags", flags, 0o644) }

// noted waits until the state file knows the program of the restart.
func (s *stage) noted(state string) (p *proc.Process) {
	s.Helper()
	s.waitFor("the program is noted", func() bool {
		id, err := proc.ParseID(instanceOf(s.path(state)).Prog)
		if err == nil {
			p, err = proc.OpenID(id)
		}
		return err == nil
	})
	s.Cleanup(p.Close)
	return p
}

// Its program killed half way, gracewatch says so and runs it again after the retry time, whatever the size has become.
func TestAProgramKilledHalfWayIsRunAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	prog := s.program(j, "", "-quiet 1h")
	_, l := s.watched("watch", target, "-g 0 -i 50ms -r 700ms", prog.name)
	p := target.running(proc.ID{})
	s.grow(p, j)
	j.event("QUIET", 1) // and small again
	running := s.noted("worker/supervise/gracewatch")
	prog.is("")
	killed := proc.Now()
	s.must(running.Signal(unix.SIGKILL))
	l.event("msg=restart-failed .*reason=soft .*signal: killed", 1)
	again := j.event("RESTART", 2)
	if again.id != p.ID || again.at < killed+700*time.Millisecond {
		s.Errorf("again for %v after %v, want %v after 700 ms", again.id, again.at-killed, p.ID)
	}
	l.event("msg=restart-done", 1)
	target.running(p.ID)
}

// Its program that hangs gets TERM when --prog-timeout is over and then KILL, with its whole group; that is a failed
// restart, and is tried again.
func TestAProgramThatHangsIsEndedAndRunAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	prog := s.program(j, "trap '' TERM; sleep 1h &", "-hang")
	_, l := s.watched("watch", target, "-g 0 -i 50ms -r 300ms --prog-timeout 5s", prog.name)
	p := target.running(proc.ID{})
	s.grow(p, j)
	j.event("QUIET", 1)
	l.event("prog-timeout 5s: sending TERM to its group", 1)
	s.write("prog", "#!/bin/sh\nexec worker restart "+j.file+"\n", 0o755)
	l.event("prog-timeout 5s: sending KILL to its group", 1)
	l.event("msg=restart-failed", 1)
	l.event("msg=restart-done", 1)
	target.running(p.ID)
	if left := processesWith("GRACE_TARGET=" + p.ID.String()); len(left) > 0 {
		s.Errorf("left of the program: %v", left[0].ID)
	}
}

// Its program that hangs when gracewatch is killed, the next one gives it its time, too, and begins the restart again.
func TestAProgramThatHangsOverAKillIsEnded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	prog := s.program(j, "", "-quiet 1h")
	watcher, l := s.watched("watch", target, "-g 0 -i 50ms -r 300ms --prog-timeout 8s", prog.name)
	p, w := target.running(proc.ID{}), watcher.running(proc.ID{})
	s.grow(p, j)
	hangs := s.noted("worker/supervise/gracewatch")
	j.event("QUIET", 1)
	s.must(w.Signal(unix.SIGKILL))
	prog.is("")
	l.event("prog-timeout 8s: sending TERM to its group", 1)
	l.event("msg=restart-done", 1)
	if !hangs.Ended() {
		s.Error("it still hangs")
	}
	target.running(p.ID)
}

// A process that ends by itself in its grace time takes its timer with it: its successor is restarted for nothing.
func TestAProcessThatEndsInItsGraceTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	_, l := s.watched("watch", target, "-g 8s -i 50ms", j.restarter())
	p := target.running(proc.ID{})
	s.grow(p, j)
	l.event("msg=over-soft", 1)
	s.must(p.Signal(unix.SIGKILL))
	l.event(`msg=target-gone .*stopped="the grace timer"`, 1)
	next := target.running(p.ID)
	l.event("msg=target-up", 1)
	s.grow(next, j)                               // with a timer of its own
	due := j.event("GROWS", 2).at + 8*time.Second // by its own clock, not by when this was read
	restart := j.event("RESTART", 1)
	if restart.id != next.ID || restart.at < due {
		s.Errorf("%v is restarted %v before it is due", restart.id, due-restart.at)
	}
	l.event("msg=restart-done", 1)
	l.times("msg=restart-begin", 1)
}

// A process that ends by itself during its restart is restarted once, and its successor is left alone.
func TestAProcessThatEndsDuringItsRestart(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	_, l := s.watched("watch", target, "-g 0 -i 50ms", j.restarter("-quiet 1h"))
	p := target.running(proc.ID{})
	s.grow(p, j)
	j.event("QUIET", 1)
	s.must(p.Signal(unix.SIGKILL))
	l.event("msg=restart-done", 1)
	next := target.running(p.ID)
	l.event("msg=target-up .*id="+next.ID.String(), 1)
	l.times("msg=restart-begin", 1)
	j.restartedOnce(p.ID)
}

// A process that ends between the check and the signal: nothing is sent to its successor.
func TestAProcessThatEndsBetweenTheCheckAndTheSignal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	prog := s.write("prog", "#!/bin/sh\nkill -KILL ${GRACE_TARGET%:*}\n"+
		"until [ $(grep -c START "+j.file+") = 2 ]; do sleep 0.02; done\n"+
		"pgsignal -p \"$1\" TSTP/0/TERM/5/KILL && worker restart "+j.file+"\n", 0o755)
	_, l := s.watched("watch", target, "-g 0 -i 50ms", prog+" {}")
	p := target.running(proc.ID{})
	s.grow(p, j)
	l.event("msg=restart-done", 1)
	next := target.running(p.ID)
	l.event("msg=target-up .*id="+next.ID.String(), 1)
	j.event("GONE", 1)
	j.restartedOnce(p.ID)
}

// restartedOnce is for the end of a test: one restart, of that process, and nothing has come to any other.
func (j journal) restartedOnce(id proc.ID) {
	j.s.Helper()
	if n := len(j.of("RESTART")); n != 1 {
		j.s.Errorf("%d restarts, not 1", n)
	}
	for _, e := range j.entries() {
		if e.id != id && (e.event == "RESTART" || e.event == "QUIET" || e.event == "END") {
			j.s.Errorf("%v got %s", e.id, e.event)
		}
	}
}
