package integration

import (
	"gracekit/test/harness"
	"testing"
)

// memory-killer in a run script, in front of the program: it becomes the program, and watches it.
func TestMemoryKillerInARunScript(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() harness.Service) {
		s.Write("svc/run", `#!/bin/sh
export SIDEKIQ_DAEMON_MEMORY_KILLER=1 SIDEKIQ_MEMORY_KILLER_MAX_RSS=1 SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0
export SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1 SIDEKIQ_TIMEOUT=5
exec pgexec memory-killer sleep 1000
`, 0o755)
		v := start()
		first := v.Running()
		second := v.Running(first)
		third := v.Running(first, second) // each is over its limit, and restarted in its turn
		v.Down()
		s.Eventually("it is down", func() bool { return !third.Alive() })
		// A watcher ends with the process that it watches.
		s.Eventually("no watcher is left", func() bool {
			for _, p := range s.Left() {
				if p.PID != v.Supervisor().PID {
					return false
				}
			}
			return true
		})
	})
}
