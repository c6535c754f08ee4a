package watch

import (
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// world is all that the loop knows of the machine. Host is the real one; the
// tests have one whose clock they move.
type world interface {
	Now() time.Duration           // CLOCK_BOOTTIME
	Wall() time.Time              // the time of day, for the history and the snapshot alone
	Wait(on waits) (woken, error) // the one place where the loop waits

	Target() (process, error)                    // the target's process
	Wanted() (service.WantedState, error)        // what the operator wants of the service
	Instances(target process) ([]proc.ID, error) // who is watched, good until the next call; none: the target itself
	Open(id proc.ID) (process, error)
	LargestBelow(target process) (id proc.ID, kb int64)

	Start(argv, environ []string) (running, error)
	Resume(target proc.ID, noted string) running // a prog that an earlier gracewatch started; nil: none runs

	Store() (*store, error)     // where the snapshot is kept
	History() (*history, error) // nil: none is kept
}

// waits is what the loop waits for, beside the end of the watcher and commands.
type waits struct {
	process process       // its end; nil: none
	prog    running       // its end; nil: none
	until   time.Duration // on the clock of Now; never
}

// woken is what has come.
type woken struct {
	stop     bool
	commands []byte // letters, good until the next Wait
	hook     bool   // some of them came on the FIFO of --control
}

// process is one process that is held.
type process interface {
	ID() proc.ID
	PollFd() unix.PollFd // readable when it has ended
	Ended() bool
	Close()
	Read(notes *BootNotes) (reading, error) // one sample of it; nil: of its size alone
	Available() (kb int64, err error)       // the memory available to it
	Quiet() (quiet, idle bool)              // of a Sidekiq: it takes no more jobs, and has none
	Frozen() bool                           // its cgroup is
}

// reading is what a process shows of itself. While it has no title, its argv and
// environment are noted.
type reading struct {
	kb      int64 // the size that is held against the limits
	titled  bool  // it has the title of a Sidekiq that has booted
	booting bool  // it is a Sidekiq without a title
}

// running is a prog that was started.
type running interface {
	ID() proc.ID         // zero if it had ended before it could be asked
	PollFd() unix.PollFd // readable when it has ended
	Ended() bool
	SignalGroup(sig unix.Signal) error
	Reap() exit // after its end; closes it
}

// exit is how a prog ended.
type exit struct {
	known bool // false: an earlier gracewatch started it
	code  int  // -1: a signal ended it
	text  string
}
