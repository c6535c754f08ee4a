package fault

import (
	"testing"

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
