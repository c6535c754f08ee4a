package integration

import (
	"gracekit/test/harness"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What jobs have started has ended after the restart, and no other process got a signal: not runsv, not its log process, not
// the service beside it.
func TestExternalProcessesEndWithSidekiq(t *testing.T) {
	t.Parallel()

	for name, end := range map[string]func(s *sandbox, k *sidekiq){
		"by a restart": func(s *sandbox, k *sidekiq) {
			_, events := k.watched(quickWatch)
			k.redis.Enqueue(1, "LeakJob", beyondLimit, 0)
			events.Event("restart-done", 1)
		},
		"when the leader dies without one": func(s *sandbox, k *sidekiq) {
			syscall.Kill(k.MainPID(), syscall.SIGKILL)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			// A service that notes each signal it gets.
			s.Write("witness/run", `#!/bin/sh
for signal in HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP TTIN TTOU WINCH; do
	trap "echo $signal >>signals" $signal
done
while [ ! -e end ]; do sleep 0.1; done
`, 0o755)
			s.Write("witness/log/run", "#!/bin/sh\nmkdir -p ./main && exec svlogd ./main\n", 0o755)
			witness := s.Runsv(s.Path("witness"))
			s.Cleanup(func() { s.Write("witness/end", "", 0o644) })

			k := s.sidekiq(nil)
			old := k.working()
			others := []harness.Process{k.Runsv.Process, k.Logger(), witness.Process, witness.Logger(), witness.Running()}
			children := s.Path("children")
			k.redis.Enqueue(1, "OrphanJob", children)
			s.Eventually("the job has left processes", func() bool { return len(s.pidsIn(children)) == 2 })
			var left []harness.Process
			for _, pid := range s.pidsIn(children) {
				p, alive := harness.FindProcess(pid)
				if !alive || p.PGID != old.PID {
					s.Fatalf("want a process of group %d: %v", old.PID, p)
				}
				left = append(left, p)
			}

			end(s, k)
			next := k.working(old)
			for _, p := range left {
				if p.Alive() {
					s.Errorf("outlived its Sidekiq: %v", p)
				}
			}
			for _, p := range others {
				if !p.Alive() {
					s.Errorf("ended, though it was not signalled: %s", p.ID())
				}
			}
			if signals, err := os.ReadFile(s.Path("witness/signals")); err == nil {
				s.Errorf("the service beside it got signals:\n%s", signals)
			}
			// and the next one works
			jids := k.redis.Enqueue(1, "LeakJob", 0, 0)
			s.Eventually("the next one takes jobs", func() bool { return len(k.of(jids[0], "done")) == 1 })
			if pid := k.of(jids[0], "done")[0].pid; pid != next.PID {
				s.Errorf("the job was done by %d, want %d", pid, next.PID)
			}
		})
	}
}

// pidsIn are the pids that a file has so far.
func (s *sandbox) pidsIn(file string) (pids []int) {
	text, _ := os.ReadFile(file)
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		s.Check(err)
		pids = append(pids, pid)
	}
	return pids
}
