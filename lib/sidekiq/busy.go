package sidekiq

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Busy says how many jobs run.
type Busy struct {
	Title
	Told bool // the title told it; if not, only Idle is known
	Idle bool // it is certain that no job is running and none will
}

// ErrNoSidekiq is the error of a process that is no Sidekiq.
var ErrNoSidekiq = errors.New("it is no Sidekiq")

// ErrBooting is the error of a Sidekiq that has not written a title yet.
var ErrBooting = errors.New("its Sidekiq is booting: it has no title yet")

// Watch looks at one Sidekiq, over and over.
type Watch struct {
	p          *proc.Process
	processors []int // every one that was seen: a job may give its thread another name
	idle       bool  // by the threads, at the last look
}

// NewWatch is a Watch of that process.
func NewWatch(p *proc.Process) *Watch { return &Watch{p: p} }

// Look tells how busy it is. The error is ErrNoSidekiq, or ErrBooting or ErrCut
// (it is a Sidekiq that doesn't tell), or proc.ErrGone.
func (w *Watch) Look() (b Busy, err error) {
	cmdline, err := w.p.ReadFile("cmdline")
	if err != nil {
		return Busy{}, err
	}
	title, err := ParseTitle(cmdline)
	if err == ErrNoTitle {
		return Busy{}, w.untitled()
	}
	b = Busy{Title: title, Told: err == nil}
	if b.Stopping && b.Title.Busy == 0 {
		b.Idle = true
		return b, nil
	}
	idle, errThreads := w.threadsIdle()
	if errThreads != nil {
		return Busy{}, errThreads
	}
	if idle {
		b.Idle, b.Stopping, b.Title.Busy = true, true, 0
		return b, nil
	}
	return b, err
}

// untitled tells a Sidekiq that boots from another program, by its name.
func (w *Watch) untitled() error {
	comm, err := w.p.ReadFile("comm")
	switch {
	case err != nil:
		return err
	case string(comm) == "sidekiq\n":
		return ErrBooting
	}
	return ErrNoSidekiq
}

// threadsIdle tells whether the threads showed, at this look and the one
// before, that no job can run. Once is not enough: while Sidekiq boots there is
// a moment between its heartbeat's start and its scheduler's.
func (w *Watch) threadsIdle() (bool, error) {
	list, err := w.p.Threads()
	if err != nil {
		return false, err
	}
	now := recognise(list)
	for _, tid := range now.processors {
		if !slices.Contains(w.processors, tid) {
			w.processors = append(w.processors, tid)
		}
	}
	before := w.idle
	w.idle = now.idle() && !slices.ContainsFunc(list, func(t proc.Thread) bool { return slices.Contains(w.processors, t.TID) })
	return before && w.idle, nil
}

// beat is the time between two looks: what it costs is a few reads of /proc.
const beat = 20 * time.Millisecond

// Now looks until the threads have been seen twice where they are needed.
func (w *Watch) Now() (Busy, error) {
	b, err := w.Look()
	if w.idle && !b.Idle {
		if err := w.pause(); err != nil {
			return Busy{}, err
		}
		return w.Look()
	}
	return b, err
}

// Wait looks until it is idle, or the deadline has come; a zero deadline never
// does. What it returns is the last look.
func (w *Watch) Wait(deadline time.Time) (Busy, error) {
	for {
		b, err := w.Look()
		if err != nil && err != ErrBooting && err != ErrCut {
			return b, err
		}
		if b.Idle || !deadline.IsZero() && !time.Now().Before(deadline) {
			return b, err
		}
		if err := w.pause(); err != nil {
			return Busy{}, err
		}
	}
}

// pause waits for the next look. proc.ErrGone if the process ended meanwhile.
func (w *Watch) pause() error {
	n, err := proc.Poll([]unix.PollFd{w.p.PollFd()}, beat)
	if n > 0 {
		return proc.ErrGone
	}
	return err
}
