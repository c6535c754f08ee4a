package integration

import (
	"testing"
)

// memory-killer in a run script, in front of the program: it becomes the program, and watches it.
func TestMemoryKillerInARunScript(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", `#!/bin/sh
export SIDEKIQ_DAEMON_MEMORY_KILLER=1 SIDEKIQ_MEMORY_KILLER_MAX_RSS=1 SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0
export SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=1 SIDEKIQ_TIMEOUT=5
exec pgexec memory-killer sleep 1000
`, 0o755)
		v := start()
		first := v.running()
		second := v.running(first)
		third := v.running(first, second) // each is over its limit, and restarted in its turn
		v.down()
		s.waitFor("it is down", func() bool { return !third.alive() })
		// A watcher ends with the process that it watches.
		s.waitFor("no watcher is left", func() bool {
			for _, p := range processesWith(s.mark, nil) {
				if p.pid != v.supervisor().pid {
					return false
				}
			}
			return true
		})
	})
}
