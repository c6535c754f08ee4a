package integration

import (
	"strings"
	"testing"
)

// A job that runs alone at each of two hard restarts is pushed back and runs again in the next process; at the second it is
// named, and moved to Sidekiq's dead set.
func TestPoisonIsMoved(t *testing.T) {
	s := newSandbox(t)
	k := s.sidekiq(map[string]string{"SIDEKIQ_TIMEOUT": "8"}) // as long again is left for Sidekiq to push the job back
	old := k.working()
	poison := k.enqueue(1, "WaitJob", s.Path("never"))[0]
	for n, want := range []string{"", "error: job " + poison + " (WaitJob, queue default) ran at each of the last 2 restarts for the hard limit"} {
		k.await("start", n+1)
		r := s.Wants(0, "env", "REDIS_URL="+k.redis.URL(), "GRACE_REASON=hard", "POISON_AFTER=2", "SHUTDOWN_WAIT=1", "SIDEKIQ_TIMEOUT=8",
			"sidekiq-fleet", "restart", old.ID())
		if named := strings.Contains(r.Stderr, "ran at each"); named != (n == 1) || !strings.Contains(r.Stderr, want) {
			s.Errorf("restart %d: want %q\n%s", n+1, want, r.Stderr)
		}
		old = k.working(old)
	}
	if dead := k.redis.Command("ZRANGE", "dead", "0", "-1"); strings.Count(dead, `"jid"`) != 1 || !strings.Contains(dead, poison) {
		s.Errorf("dead: %q, want %s", dead, poison)
	}
	k.wantQueued(0)
}
