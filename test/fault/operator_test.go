package fault

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// supervise deleted under a running gracewatch: nothing is started, which is logged; when it is made anew all is as before,
// also when the whole directory of the service has given its place to another one.
func TestSuperviseDeletedAndMadeAnew(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	p := target.Running()
	l := s.watch(target.Dir, "-g 0 -i 50ms -r 200ms", j.restarter())
	l.Line("id="+p.ID(), 1)
	s.Eventually("supervise is deleted", func() bool { // also while gracewatch keeps its state there
		return os.RemoveAll(target.Dir+"/supervise") == nil
	})
	s.grow(p, j)
	l.Line("msg=restart-postponed .*it has no supervise", 2)
	l.WantLines("cannot keep the state", 1)
	if len(j.of("RESTART")) > 0 {
		s.Error("restarted though nothing would start it again")
	}
	target.Kill() // it does not find its own files either
	s.Check(p.Signal(unix.SIGKILL))
	l.Line("msg=target-gone", 1)
	target = &service{s.Runsv(target.Dir), s}
	next := target.Running(p)
	l.Line("msg=target-up .*id="+next.ID(), 1)
	s.grow(next, j)
	l.Line("msg=restart-done", 1)
	j.restartedOnce(next.ID())
	isKept := func() {
		t.Helper()
		s.Eventually("the state is kept again", func() bool { return s.Exists("worker/supervise/gracewatch") })
		if !s.Exists("worker/supervise/gracewatch.history") {
			s.Error("the history is not kept again")
		}
		second := s.Gracewatch("-s", "1", target.Dir, "true")
		s.Exits(second.Child, 111)
		second.Line("locked by another gracewatch", 1)
		s.Must("sh", "-c", "echo p >"+target.Dir+"/supervise/gracewatch.control")
	}
	isKept()
	l.Line("msg=paused", 1)
	p = target.Running(next)
	l.Line("msg=target-up .*id="+p.ID(), 1)
	target.Kill()
	s.Check(os.Rename(target.Dir, target.Dir+".old"))
	s.Check(p.Signal(unix.SIGKILL)) // while there is no such directory
	l.Line("msg=target-gone", 3)
	s.Must("mkdir", target.Dir)
	s.Must("cp", target.Dir+".old/run", target.Dir)
	target = &service{s.Runsv(target.Dir), s}
	l.Line("msg=target-up .*id="+target.Running(p).ID(), 1)
	isKept()
}
