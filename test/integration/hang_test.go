package integration

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Sidekiq that hangs is killed, with its whole group, at twice its timeout.
func TestHangingSidekiqIsKilled(t *testing.T) {
	t.Parallel()

	// hang makes the Sidekiq hang, and is over when the process is gone.
	for name, hang := range map[string]func(s *sandbox, k *sidekiq, p process, children string){
		"a job that ignores everything": func(s *sandbox, k *sidekiq, p process, children string) {
			k.redis.enqueue(1, "StubbornJob", children)
		},
		"stopped, and stopped again whoever continues it": func(s *sandbox, k *sidekiq, p process, children string) {
			k.redis.enqueue(1, "OrphanJob", children)
			s.waitFor("the jobs have left processes", func() bool { return len(s.pidsIn(children)) == 2 })
			fd, err := unix.PidfdOpen(p.pid, 0)
			if err != nil {
				s.Fatal(err)
			}
			go func() {
				defer unix.Close(fd)
				for unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0) == nil && p.alive() {
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
			children := s.path("children")
			k.redis.enqueue(1, "LeakJob", beyondLimit, 0)
			s.waitFor("it has leaked", func() bool { return k.count("done") == 1 })
			hang(s, k, old, children)
			s.waitFor("there are external processes", func() bool { return len(s.pidsIn(children)) > 0 })
			_, events := k.watched(with(quickWatch, "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "1"))

			begin := events.event("restart-begin", 1)
			s.waitFor("it is gone", func() bool { return !old.alive() })
			// SHUTDOWN_WAIT and twice the timeout must have passed, less what the log was read late: 2 s is generous,
			// and still far from the 4 s of a kill at once the timeout.
			if took := time.Since(begin.at); took < 5*time.Second {
				s.Errorf("killed after %v, want 1 s of SHUTDOWN_WAIT and 6 s of twice the timeout", took)
			}
			events.event("restart-done", 1)
			for _, pid := range s.pidsIn(children) {
				if p, alive := look(pid); alive && p.pgid == old.pid {
					s.Errorf("left of its group: %v", p)
				}
			}
			next := k.running(old)
			s.waitFor("the successor is watched", func() bool {
				return slices.ContainsFunc(events.seen(), func(e event) bool {
					return e.name == "target-up" && e.pid() == next.pid
				})
			})
		})
	}
}
