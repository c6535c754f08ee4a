package restart

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/units"
)

// A phase is how far the restart of one worker has come.
type phase uint8

const (
	found    phase = iota // nothing was sent
	waiting               // it got the quiet signal, and its jobs or its exit are waited for
	ready                 // nothing more is waited for: the stop signal is next
	stopping              // it got the stop signal
	dumping               // it has not ended in time, and was asked for a thread dump
	killed                // it got KILL
	ended                 // it has exited
	survived              // it could not be signalled, or KILL did not end it
)

// worker is a process that works, and how far its restart has come.
type worker struct {
	process
	config  Values
	sidekiq bool
	asked   bool // Redis tells whether it is idle
	phase   phase
	settled time.Duration // until then it may not have handled the quiet signal
	until   time.Duration // when waiting, stopping, dumping and killed end at the latest
}

func newWorker(p process, sidekiq bool) *worker {
	return &worker{process: p, config: p.Values(), sidekiq: sidekiq}
}

func (w *worker) isEnding() bool {
	return w.phase == stopping || w.phase == dumping || w.phase == killed
}

// expire goes to the next phase when the time of this one is up. It returns the
// signal that comes with it: 0 for none.
func (w *worker) expire(now time.Duration) unix.Signal {
	if now < w.until {
		return 0
	}
	switch w.phase {
	case stopping:
		w.phase, w.until = dumping, now+dumpTime
		return unix.SIGTTIN
	case dumping:
		w.phase, w.until = killed, now+killTime
		return unix.SIGKILL
	case killed:
		w.phase = survived
	}
	return 0
}

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// after is the time that is d after now.
func after(now time.Duration, d units.Duration) time.Duration {
	if d.Std() > never-now {
		return never
	}
	return now + d.Std()
}

// twice is 2 d.
func twice(d units.Duration) units.Duration {
	if d > units.Never/2 {
		return units.Never
	}
	return 2 * d
}

// upTo is how long something is waited for, in words.
func upTo(d units.Duration) string {
	if d == units.Never {
		return "without limit"
	}
	return "up to " + d.String()
}
