package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// ward is one process that is watched with a timer of its own.
type ward struct {
	process *proc.Process
	limits  grace.Limits
	state   grace.State
	kb      int64 // at the last check
	misread misread
	tooLow  bool // limit-too-low was said of it
	seen    int  // the round in which it was last found among the children
}

// misread is a run of checks that told nothing.
type misread struct {
	since time.Duration // 0: the last one told something
	said  bool
}

// over is when it went over a limit, or never.
func (d *ward) over() time.Duration {
	over := never
	if d.state.Over {
		over = d.state.Since
	}
	if d.state.OverHard {
		over = min(over, d.state.HardSince)
	}
	return over
}

// early tells whether it went over a limit soon after its start.
func (d *ward) early() bool { return grace.IsEarly(d.process.ID.StartTime(), d.over()) }

// sizes are what an event says of it, and why it is to be restarted, if it is.
func (d *ward) sizes(at time.Duration, why grace.Reason) []slog.Attr {
	over := time.Duration(-1)
	if d.state.Over {
		over = at - d.state.Since
	}
	attrs := append([]slog.Attr{slog.Int64("rss_kb", d.kb)}, limitAttrs(d.limits, over)...)
	if why != "" {
		attrs = append(attrs, slog.String("reason", string(why)))
	}
	return attrs
}

// take starts to watch a process, or goes on where an earlier gracewatch was.
func (w *watch) take(p *proc.Process) error {
	limits, err := w.o.limits(p.ID)
	if err != nil {
		return err
	}
	d := &ward{process: p, limits: limits}
	w.wards = append(w.wards, d)
	w.file.dirty = true
	w.goOn(d)
	return nil
}

// drop lets go of the target and its children.
func (w *watch) drop() {
	for _, d := range w.wards {
		if d.process != w.target {
			d.process.Close()
		}
	}
	if w.target != nil {
		w.target.Close()
	}
	w.wards, w.target = nil, nil
	w.file.dirty = true
}

// children finds those of the target anew: some have come, some have gone.
func (w *watch) children() {
	found, err := w.scan.Children(w.target)
	if err != nil {
		return // the target's end says why; a glitch is over at the next check
	}
	w.round++
	var missed error
	next := 0
	for _, s := range found {
		at := w.wardFrom(next, s.ID())
		if at < 0 {
			if err := w.takeChild(s.ID()); errors.Is(err, proc.ErrGone) {
				continue
			} else if err != nil {
				missed = err
				continue
			}
			at = len(w.wards) - 1
		}
		w.wards[at].seen, next = w.round, at+1
	}
	if missed != nil && !w.missing {
		w.say(nil, slog.LevelError, "read-failed", slog.String("why", "not every child can be watched"), slog.Any("err", missed))
	}
	w.missing = missed != nil
	w.wards = slices.DeleteFunc(w.wards, func(d *ward) bool {
		if d.seen == w.round || w.restart != nil && w.restart.ward == d {
			return false
		}
		if !d.process.Ended() { // the kernel's list may leave one out while others end
			return false
		}
		w.say(d, slog.LevelInfo, "target-gone")
		w.file.dirty = true
		d.process.Close()
		return true
	})
}

// wardFrom is where a process is among the wards, or -1. It looks from a place
// on and then before it: the kernel lists children by the thread that has them,
// each in the order in which they came, so that the next one is mostly there.
func (w *watch) wardFrom(next int, id proc.ID) int {
	for i := range w.wards {
		at := next + i
		if at >= len(w.wards) {
			at -= len(w.wards)
		}
		if w.wards[at].process.ID == id {
			return at
		}
	}
	return -1
}

// takeChild starts to watch a child. ErrGone if it has ended meanwhile.
func (w *watch) takeChild(id proc.ID) error {
	p, err := proc.OpenID(id)
	if err != nil {
		return err
	}
	if err = enoughFiles(p); err == nil {
		err = w.take(p)
	}
	if err != nil {
		p.Close()
		return err
	}
	d := w.wards[len(w.wards)-1]
	w.say(d, slog.LevelInfo, "target-up", limitAttrs(d.limits, -1)...)
	return nil
}

// enoughFiles tells whether descriptors are left when a child is watched: it
// takes up to four itself, and without any there would be no restart.
func enoughFiles(p *proc.Process) error {
	const spare = 16
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err != nil || uint64(p.PollFd().Fd)+spare <= most.Cur {
		return nil // the kernel gives the lowest number that is free
	}
	return fmt.Errorf("%w: %d are allowed (ulimit -n, chpst -o)", unix.EMFILE, most.Cur)
}

// hold keeps the next child from its restart until the parent has put another
// in the place of the last: until as many are there as before, or for the retry
// time at most.
type hold struct {
	until time.Duration
	count int
}

// see ends the hold when enough children are there.
func (h *hold) see(count int, at time.Duration) {
	if h.count > 0 && (count >= h.count || at >= h.until) {
		*h = hold{}
	}
}
