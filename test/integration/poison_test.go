package integration

import (
	"context"
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
			k := s.sidekiq(nil)
			r := k.redis
			old := k.working()
			release := s.path("release") // never written
			poison := r.enqueue(1, "WaitJob", release)[0]
			if c.innocent {
				r.enqueue(1, "WaitJob", release)
			}
			client := goredis.NewClient(&goredis.Options{Network: "unix", Addr: r.socket})
			defer client.Close()
			restart := func() result {
				cmd := s.command("sidekiq-fleet", "restart", old.id())
				cmd.Env = append(cmd.Env, "REDIS_URL="+r.url(), "GRACE_REASON=hard", "POISON_AFTER=2", "SHUTDOWN_WAIT=1", "SIDEKIQ_TIMEOUT=3")
				got := s.runCommand(cmd)
				if got.code != 0 {
					s.Fatalf("exit %d\n%s", got.code, got.stderr)
				}
				return got
			}
			for n := range 2 {
				s.waitFor("the job runs", func() bool { return len(k.ledger.of(poison, "start")) == n+1 })
				got := restart()
				named := strings.Contains(got.stderr, "error: job "+poison+" (WaitJob, queue default) ran at each of the last 2 restarts for the hard limit")
				if named != (n == 1) {
					s.Errorf("restart %d: named: %v\n%s", n+1, named, got.stderr)
				}
				if n == 1 && strings.Contains(got.stderr, "was moved from queue default to the dead set") != (c.dead == "1") {
					s.Errorf("%s", got.stderr)
				}
				old = k.working(old)
			}
			if dead := r.command("ZCARD", "dead"); dead != c.dead {
				s.Errorf("%s jobs in the dead set, want %s", dead, c.dead)
			}
			if c.innocent {
				s.waitFor("both run again", func() bool { return len(k.ledger.of(poison, "start")) == 3 })
				return
			}
			payload := client.ZRange(context.Background(), "dead", 0, -1).Val()
			if len(payload) != 1 || !strings.Contains(payload[0], poison) || r.command("LLEN", "queue:default") != "0" {
				s.Errorf("dead: %q", payload)
			}
		})
	}
}
