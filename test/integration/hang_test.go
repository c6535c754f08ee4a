package integration

import (
	"gracekit/test/harness"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Sidekiq that hangs is killed, with its whole group, at twice its timeout.
func TestHangingSidekiqIsKilled(t *testing.T) {
	t.Parallel()

	// hang makes the Sidekiq hang, and is over when the process is gone.
	for name, hang := range map[string]func(s *sandbox, k *sidekiq, p harness.Process, children string){
		"a job that ignores everything": func(s *sandbox, k *sidekiq, p harness.Process, children string) {
			k.redis.Enqueue(1, "StubbornJob", children)
		},
		"stopped, and stopped again whoever continues it": func(s *sandbox, k *sidekiq, p harness.Process, children string) {
			k.redis.Enqueue(1, "OrphanJob", children)
			s.Eventually("the jobs have left processes", func() bool { return len(s.pidsIn(children)) == 2 })
			fd, err := unix.PidfdOpen(p.PID, 0)
			s.Check(err)
			go func() {
				defer unix.Close(fd)
				for unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0) == nil && p.Alive() {
					time.Sleep(time.Millisecond)
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			k := s.sidekiq(map[string]string{"SIDEKIQ_TIMEOUT": "3"})
			old := k.working()
			children := s.Path("children")
			k.redis.Enqueue(1, "LeakJob", beyondLimit, 0)
			s.Eventually("it has leaked", func() bool { return k.count("done") == 1 })
			hang(s, k, old, children)
			s.Eventually("there are external processes", func() bool { return len(s.pidsIn(children)) > 0 })
			_, events := k.watched(with(quickWatch, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "1"))

			events.Event("restart-begin", 1)
			begun := time.Now()
			s.Eventually("it is gone", func() bool { return !old.Alive() })
			// SHUTDOWN_WAIT and twice the timeout must have passed, less what the log was read late: 2 s is generous,
			// and still far from the 4 s of a kill at once the timeout.
			if took := time.Since(begun); took < 5*time.Second {
				s.Errorf("killed after %v, want 1 s of SHUTDOWN_WAIT and 6 s of twice the timeout", took)
			}
			events.Event("restart-done", 1)
			for _, pid := range s.pidsIn(children) {
				if p, alive := harness.FindProcess(pid); alive && p.PGID == old.PID {
					s.Errorf("left of its group: %v", p)
				}
			}
			next := k.Running(old)
			s.Eventually("the successor is watched", func() bool {
				return slices.ContainsFunc(events.Seen(), func(e harness.Event) bool {
					return e.Name == "target-up" && e.PID() == next.PID
				})
			})
		})
	}
}
