// Package fleet proves that a claim never takes too many: 300 instances that are Sidekiqs to a real redis-server are
// restarted over and over by watchers that all ask at once, and crash. Two observers check it. One is the fleet itself,
// which knows who takes jobs; the other reads Redis' append-only file, that is: every change there, in the order in which
// it happened, so that nothing is missed between two readings.
package fleet

import (
	"flag"
	"gracekit/test/harness"
	"os"
	"testing"
	"time"
)

// patience is how long what must come may take. The machine may be slow; only a fault takes this long.
const patience = 240 * time.Second

var seed = flag.Uint64("seed", 1, "of what the simulation leaves to chance")

func TestMain(m *testing.M) {
	for _, name := range []string{"REDIS_PROVIDER", "REDIS_SENTINELS", "SIDEKIQ_NAMESPACE", "SIDEKIQ_FLEET_TIMEOUT"} {
		os.Unsetenv(name)
	}
	harness.Main(m, "8", nil, "./cmd/sidekiq-fleet")
}
