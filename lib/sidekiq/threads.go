package sidekiq

import (
	"slices"
	"strings"

	"gracekit/lib/proc"
)

// Names as the kernel keeps them, cut to 15 bytes; before and from Sidekiq 7 on.
// The processors of Sidekiq 7 have the name of their capsule, which is "default"
// or any other, so a thread that a gem or Enterprise has added counts as one.
const (
	heartbeat6, heartbeat7 = "heartbeat", "sidekiq.heartbe"
	scheduler6, scheduler7 = "scheduler", "sidekiq.schedul"
	processor6, prefix7    = "processor", "sidekiq."
)

func isHeartbeat(name string) bool { return name == heartbeat6 || name == heartbeat7 }

// threads is what the names of the threads show: a quiet Sidekiq ends its
// scheduler at once, and each processor when its job is done.
type threads struct {
	heartbeat  int // its id; 0: the names are not known to be Sidekiq's
	scheduler  bool
	processors []int // their ids
	others     int   // threads that have a name of their own, which shows nothing
}

// recognise sorts the threads of a process by their names. The main thread has the
// name of the process, which may be any: a fork takes it from the thread that
// called fork. A thread that nobody has named has it, too.
func recognise(pid int, list []proc.Thread) (t threads) {
	process := ""
	if main := slices.IndexFunc(list, func(thread proc.Thread) bool { return thread.TID == pid }); main >= 0 {
		process = list[main].Name
	}
	for _, thread := range list {
		switch name := thread.Name; {
		case thread.TID == pid:
		case isHeartbeat(name) && name != process && t.heartbeat == 0:
			t.heartbeat = thread.TID
		case name == scheduler6 || name == scheduler7:
			t.scheduler = true
		case name == processor6, strings.HasPrefix(name, prefix7):
			t.processors = append(t.processors, thread.TID)
		case name != process:
			t.others++
		}
	}
	return t
}
