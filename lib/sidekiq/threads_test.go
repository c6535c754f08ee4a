package sidekiq

import (
	"strings"
	"testing"

	"gracekit/lib/proc"
)

func TestTheThreadsTellWhetherAJobCanRun(t *testing.T) {
	for names, c := range map[string]struct {
		idle       bool
		processors int
	}{
		// facts: Sidekiq 6.4.1 and 7.3.2, running and quiet
		"sidekiq heartbeat scheduler processor processor": {false, 2},
		"sidekiq heartbeat processor":                     {false, 1},
		"sidekiq heartbeat":                               {true, 0},
		"sidekiq sidekiq sidekiq.heartbe sidekiq.schedul sidekiq.default sidekiq.slow": {false, 2},
		"sidekiq sidekiq sidekiq.heartbe sidekiq.default":                              {false, 1},
		"sidekiq sidekiq sidekiq.heartbe":                                              {true, 0},
		// a processor whose capsule has the name of another thread
		"sidekiq sidekiq.heartbe sidekiq.heartbe": {false, 1},
		"sidekiq sidekiq.heartbe sidekiq.schedul": {false, 0},
		// not known to be Sidekiq's
		"sidekiq":           {false, 0},
		"sidekiq scheduler": {false, 0},
		"":                  {false, 0},
	} {
		var list []proc.Thread
		for i, name := range strings.Fields(names) {
			list = append(list, proc.Thread{TID: i + 1, Name: name})
		}
		got := recognise(list)
		if got.idle() != c.idle || len(got.processors) != c.processors {
			t.Errorf("%s: %+v, idle %v; want %+v", names, got, got.idle(), c)
		}
	}
}
