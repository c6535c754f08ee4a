package sidekiq

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Status is what a Sidekiq shows of its jobs.
type Status struct {
	Title           // the zero Title, but for Busy and Stopping, where there is none to read
	HasTitle bool   // the numbers are those of the title
	Idle     bool   // no job is running, and none will be started
	Evidence string // what shows that: "title", "threads" or "" for neither
}

// ErrNotSidekiq is the error of a process without a heartbeat thread.
var ErrNotSidekiq = errors.New("not a Sidekiq: it has no heartbeat thread")

// ErrBooting is the error of a Sidekiq that has no heartbeat yet.
var ErrBooting = errors.New("booting: Sidekiq has no heartbeat thread yet")

// Watch checks one Sidekiq again and again.
type Watch struct {
	p          *proc.Process
	processors []int     // all that were seen: a job may give its thread another name
	idle       bool      // by the threads, at the last check
	heartbeat  time.Time // when its thread was last seen

	last    snapshot // of the last check of the threads
	repeats int      // how many checks have found the same since
}

// A snapshot is what a check reads first. While the number of threads and the
// title stay the same, so do the threads, but for one that begins where another
// has ended. Only a snapshot of a Sidekiq that is not idle is kept: if it is
// wrong, idle is seen some checks later, never too early.
type snapshot struct {
	threads int
	cmdline string
	status  Status
}

// maxRepeats bounds how many checks rely on a snapshot.
const maxRepeats = 10

// NewWatch is a Watch of that process, which the caller has found to be a Sidekiq.
func NewWatch(p *proc.Process) *Watch { return &Watch{p: p, heartbeat: time.Now()} }

// Check finds out whether jobs are running. There are two pieces of evidence, the
// title and the threads. Each can show on its own that Sidekiq is idle, and
// neither keeps the other from it: the title is as old as the last heartbeat, and
// may be cut off or missing; a thread that has nothing to do with jobs may look
// like one that has.
//
// The error is ErrNotSidekiq or ErrBooting, proc.ErrGone, or, for a Sidekiq that
// shows neither that it is idle nor how many jobs are running, ErrCut or
// ErrNoTitle.
func (w *Watch) Check() (Status, error) {
	stat, err := w.p.Stat()
	if err != nil {
		return Status{}, err
	}
	cmdline, err := w.p.ReadFile("cmdline")
	if errors.Is(err, proc.ErrGone) {
		return Status{}, err
	}
	if w.last.threads == stat.Threads && w.last.cmdline == string(cmdline) && w.repeats < maxRepeats {
		w.repeats++
		w.heartbeat = time.Now()
		return w.last.status, nil
	}
	w.last, w.repeats = snapshot{}, 0
	s, err := w.checkThreads(cmdline)
	if err == nil && !w.idle { // to be idle, the threads must show it twice
		w.last = snapshot{stat.Threads, string(cmdline), s}
	}
	return s, err
}

// checkThreads is a check of the threads and of the title in cmdline.
func (w *Watch) checkThreads(cmdline []byte) (Status, error) {
	list, err := w.p.Threads()
	if err != nil {
		return Status{}, err
	}
	now := recognise(w.p.ID.PID, list)
	if now.heartbeat == 0 {
		if isBooting(w.p) {
			return Status{}, ErrBooting
		}
		return Status{}, ErrNotSidekiq
	}
	w.heartbeat = time.Now()
	before := w.idle
	s, err := w.conclude(cmdline, now, list)
	if before && w.idle && w.p.IsExiting() {
		return Status{}, proc.ErrEnding
	}
	return s, err
}

// conclude is what the title and the threads show together. That no job can run
// the threads have to show twice in a row: while Sidekiq boots there is a moment
// between the start of its heartbeat and that of its scheduler.
func (w *Watch) conclude(cmdline []byte, now threads, list []proc.Thread) (Status, error) {
	title, errTitle := ParseTitle(cmdline) // empty if it cannot be read: no title
	left := w.processorsLeft(now, list)
	s := Status{Title: title, HasTitle: errTitle == nil}
	// A job that gave its thread another name before the first check is one of the others.
	mayHide := s.HasTitle && len(w.processors) < title.Concurrency && now.others > 0
	before := w.idle
	w.idle = !now.scheduler && left == 0 && !mayHide
	switch {
	case title.Stopping && title.Busy == 0:
		s.Idle, s.Evidence = true, "title"
	case before && w.idle:
		s.Idle, s.Evidence, s.Stopping, s.Busy = true, "threads", true, 0
	case s.HasTitle:
		s.Evidence = "title"
	case !now.scheduler && left > 0: // it is quiet, and runs as many jobs at most
		s.Evidence, s.Stopping, s.Busy = "threads", true, left
	default:
		return Status{}, errTitle
	}
	return s, nil
}

// processorsLeft counts the processors of now, and those of earlier checks whose
// job has given its thread another name.
func (w *Watch) processorsLeft(now threads, list []proc.Thread) (n int) {
	for _, tid := range now.processors {
		if !slices.Contains(w.processors, tid) {
			w.processors = append(w.processors, tid)
		}
	}
	for _, thread := range list {
		if slices.Contains(w.processors, thread.TID) {
			n++
		}
	}
	return n
}

// interval is the time between two checks, each of which is some reads of /proc.
const interval = 20 * time.Millisecond

// Now checks until the threads have been seen twice where that is needed.
func (w *Watch) Now() (Status, error) {
	s, err := w.Check()
	if w.idle && !s.Idle {
		if err := w.pause(); err != nil {
			return Status{}, err
		}
		return w.Check()
	}
	return s, err
}

// exitTime is how long a Sidekiq may take to exit after its heartbeat has ended:
// threads end one by one, and the process with the last.
const exitTime = 10 * time.Second

// Wait checks until Sidekiq is idle, or the deadline has come; a zero deadline
// never comes. What it returns is the last check.
func (w *Watch) Wait(deadline time.Time) (Status, error) {
	for {
		s, err := w.Check()
		isExiting := err == ErrNotSidekiq && time.Since(w.heartbeat) < exitTime
		if err != nil && !isExiting && !mayChange(err) {
			return s, err
		}
		if s.Idle {
			return s, nil
		}
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			return w.Now()
		}
		if err := w.pause(); err != nil {
			return Status{}, err
		}
	}
}

// mayChange tells whether a later check may show more.
func mayChange(err error) bool { return err == ErrBooting || err == ErrCut || err == ErrNoTitle }

// pause waits for the next check. proc.ErrGone if the process ended meanwhile.
func (w *Watch) pause() error {
	n, err := proc.Poll([]unix.PollFd{w.p.PollFd()}, interval)
	if n > 0 {
		return proc.ErrGone
	}
	if err != nil {
		return fmt.Errorf("ppoll: %w", err)
	}
	return nil
}
