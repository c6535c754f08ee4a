package integration

import (
	"context"
	"gracekit/test/harness"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// A job that runs alone at each of two hard restarts is named, and then moved to Sidekiq's dead set; beside a long job
// that runs each time as well, both are named and neither is moved.
func TestPoisonIsMovedOnlyIfItRanAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		innocent bool
		dead     string
	}{{"alone", false, "1"}, {"beside a long job", true, "0"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			k := s.sidekiq(map[string]string{"SIDEKIQ_TIMEOUT": "8"}) // as long again is left for Sidekiq to push the job back
			r := k.redis
			old := k.working()
			release := s.Path("release") // never written
			poison := r.Enqueue(1, "WaitJob", release)[0]
			if c.innocent {
				r.Enqueue(1, "WaitJob", release)
			}
			client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: r.Socket})
			defer client.Close()
			restart := func() harness.Result {
				cmd := s.Command("sidekiq-fleet", "restart", old.ID())
				cmd.Env = append(cmd.Env, "REDIS_URL="+r.URL(), "GRACE_REASON=hard", "POISON_AFTER=2", "SHUTDOWN_WAIT=1", "SIDEKIQ_TIMEOUT=8")
				got := s.RunCommand(cmd)
				if got.Code != 0 {
					s.Fatalf("exit %d\n%s", got.Code, got.Stderr)
				}
				return got
			}
			for n := range 2 {
				s.Eventually("the job runs", func() bool { return len(k.ledger.of(poison, "start")) == n+1 })
				got := restart()
				named := strings.Contains(got.Stderr, "error: job "+poison+" (WaitJob, queue default) ran at each of the last 2 restarts for the hard limit")
				if named != (n == 1) {
					s.Errorf("restart %d: named: %v\n%s", n+1, named, got.Stderr)
				}
				if n == 1 && strings.Contains(got.Stderr, "was moved from queue default to the dead set") != (c.dead == "1") {
					s.Errorf("%s", got.Stderr)
				}
				old = k.working(old)
			}
			if dead := r.Command("ZCARD", "dead"); dead != c.dead {
				s.Errorf("%s jobs in the dead set, want %s", dead, c.dead)
			}
			if c.innocent {
				s.Eventually("both run again", func() bool { return len(k.ledger.of(poison, "start")) == 3 })
				return
			}
			payload := client.ZRange(context.Background(), "dead", 0, -1).Val()
			if len(payload) != 1 || !strings.Contains(payload[0], poison) || r.Command("LLEN", "queue:default") != "0" {
				s.Errorf("dead: %q", payload)
			}
		})
	}
}
