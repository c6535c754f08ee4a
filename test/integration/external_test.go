package integration

import (
	"strings"
	"testing"

	"gracekit/test/harness"
)

// What jobs have started has ended when the next Sidekiq runs: after one that died, and after one that hangs, which is
// killed at twice its timeout. No other process got a signal: not runsv, not the log process, not the service beside it.
func TestExternalProcessesEndWithSidekiq(t *testing.T) {
	s := newSandbox(t)
	// A service that notes each signal it gets.
	s.Script("witness/run", `
for signal in HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP TTIN TTOU WINCH; do
	trap "echo $signal >>signals" $signal
done
while [ ! -e end ]; do sleep 0.1; done
`)
	s.Script("witness/log/run", "mkdir -p ./main && exec svlogd ./main\n")
	witness := s.Runsv(s.Path("witness"))
	s.Cleanup(func() { s.Write("witness/end", "", 0o644) })
	k := s.sidekiq(nil)
	first := k.working()
	others := []harness.Process{k.Runsv.Process, k.Logger(), witness.Process, witness.Logger(), witness.Running()}

	starts := func(leader harness.Process, job string, n int) (started []harness.Process) {
		k.enqueue(1, job, s.Path(job))
		s.Eventually(job+" has started processes", func() bool { started = s.processesIn(job); return len(started) == n })
		for _, p := range started {
			if p.PGID != leader.PID {
				s.Fatalf("want a process of group %d: %v", leader.PID, p)
			}
		}
		return started
	}
	left := starts(first, "OrphanJob", 2)
	first.Kill()
	second := k.working(first)
	s.haveEnded(left...)

	leak := k.enqueue(1, "LeakJob", beyondLimit, 0)[0]
	k.await("done "+leak, 1)
	left = starts(second, "StubbornJob", 1)
	events := k.watched(map[string]string{"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT": "1"})
	events.Event("restart-done", 1)
	events.Line("got TERM: waiting up to 6s", 1)
	s.haveEnded(append(left, second)...)
	third := k.working(second)
	events.Line("msg=target-up .*id="+third.ID(), 1)

	for _, p := range others {
		if !p.Alive() {
			s.Errorf("ended, though it was not signalled: %s", p.ID())
		}
	}
	if signals := s.Read("witness/signals"); signals != "" {
		s.Errorf("the service beside it got signals:\n%s", signals)
	}
	next := k.enqueue(1, "LeakJob", 0, 0)[0]
	k.await("done "+next, 1)
}

// processesIn are those whose pids a file has so far, in whole lines.
func (s *sandbox) processesIn(file string) (all []harness.Process) {
	for line := range strings.Lines(s.Read(file)) {
		if p, alive := harness.FindProcess(harness.PIDOf(line)); alive {
			all = append(all, p)
		}
	}
	return all
}
