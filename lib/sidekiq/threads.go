package sidekiq

import (
	"strings"

	"gracekit/lib/proc"
)

// threads is what the names of the threads tell: a quiet Sidekiq ends its
// scheduler at once, and each processor when its job is done.
type threads struct {
	heartbeat  bool // without it, the names are not known to be Sidekiq's
	scheduler  bool
	processors []int // their ids
}

// Names as the kernel keeps them, cut to 15 bytes; before and from Sidekiq 7 on.
const (
	heartbeat6, heartbeat7 = "heartbeat", "sidekiq.heartbe"
	scheduler6, scheduler7 = "scheduler", "sidekiq.schedul"
	processor6, prefix7    = "processor", "sidekiq."
)

func isHeartbeat(name string) bool { return name == heartbeat6 || name == heartbeat7 }

func recognise(list []proc.Thread) (t threads) {
	for _, thread := range list {
		switch name := thread.Name; {
		case isHeartbeat(name) && !t.heartbeat:
			t.heartbeat = true
		case name == scheduler6 || name == scheduler7:
			t.scheduler = true
		case name == processor6, strings.HasPrefix(name, prefix7): // of a capsule, whatever its name is
			t.processors = append(t.processors, thread.TID)
		}
	}
	return t
}

// idle tells whether no thread is left that could run a job.
func (t threads) idle() bool { return t.heartbeat && !t.scheduler && len(t.processors) == 0 }
