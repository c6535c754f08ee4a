package fault

import (
	"gracekit/test/harness"
	"testing"
)

// A program is one whose flags can be changed while gracewatch runs.
type program struct {
	s    *stage
	name string
}

// program makes a restarter from a script that may do something first.
func (s *stage) program(j journal, before, flags string) program {
	s.Helper()
	p := program{s, s.Write("prog", "#!/bin/sh\n"+before+"\nexec worker restart $(cat "+s.Path("flags")+") "+j.file+"\n", 0o755)}
	p.is(flags)
	return p
}

func (p program) is(flags string) { p.s.Helper(); p.s.Write("flags", flags, 0o644) }

// Its program that hangs gets TERM when --prog-timeout is over and then KILL, with its whole group; that is a failed
// restart, and is tried again.
func TestAProgramThatHangsIsEndedAndRunAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	prog := s.program(j, "trap '' TERM; sleep 1h &", "-hang")
	_, l := s.watched("watch", target, "-g 0 -i 50ms -r 300ms --prog-timeout 5s", prog.name)
	p := target.Running()
	s.grow(p, j)
	j.event("QUIET", 1)
	l.Line("prog-timeout 5s: sending TERM to its group", 1)
	s.Write("prog", "#!/bin/sh\nexec worker restart "+j.file+"\n", 0o755)
	l.Line("prog-timeout 5s: sending KILL to its group", 1)
	l.Line("msg=restart-failed", 1)
	l.Line("msg=restart-done", 1)
	target.Running(p)
	if left := harness.ProcessesOf("GRACE_TARGET="+p.ID(), s.Path("nowhere"), nil); len(left) > 0 {
		s.Errorf("left of the program: %v", left[0])
	}
}

// restartedOnce is for the end of a test: one restart, of that process, and nothing has come to any other.
func (j journal) restartedOnce(id string) {
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
