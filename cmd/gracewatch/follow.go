package main

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// meet finds the process for the first time. What is refused now ends the
// program; later it may be a matter of time.
func (w *watch) meet() int {
	if w.o.soft.KB(1<<40) > w.o.hard.KB(1<<40) && !w.o.hard.IsZero() && w.o.soft.IsShare() == w.o.hard.IsShare() {
		w.cmd.Warn("--soft %v is above --hard %v: it will never matter", w.o.soft, w.o.hard)
	}
	p, err := w.o.target.Open()
	switch gone := errors.Is(err, proc.ErrGone); {
	case err != nil && !gone:
		return w.cmd.Refused(err)
	case gone && (!w.o.follow || w.o.once):
		w.cmd.Warn("%v", err)
		return cli.No
	}
	switch err := w.openState(); {
	case err != nil && w.o.once && len(w.o.prog) > 0: // cron has come again while a restart is under way
		w.cmd.Info("%v", err)
		return cli.Yes
	case err != nil:
		return w.cmd.Refused(err)
	}
	w.check = proc.Now()
	if p != nil {
		if err := w.up(p); err != nil {
			return w.cmd.Refused(err)
		}
	}
	w.strangers()
	// Shares are known when there is a process.
	limits := grace.Limits{Soft: w.o.soft.KB(0), Hard: w.o.hard.KB(0), Grace: w.o.grace.Std()}
	if w.target != nil {
		if limits, err = w.o.limits(w.target.ID); err != nil {
			return w.cmd.Refused(err)
		}
	}
	if !w.o.once {
		w.say(nil, slog.LevelInfo, "watching", append(limitAttrs(limits, -1), slog.Any("interval_s", seconds(w.o.interval.Std())))...)
	}
	if w.paused {
		w.say(nil, slog.LevelInfo, "paused")
	}
	return cli.Continue
}

// up starts to watch a process.
func (w *watch) up(p *proc.Process) error {
	w.target = p
	if w.o.scope == proc.ScopeChildren {
		w.children()
		if w.restart != nil { // of an earlier gracewatch
			w.restart.children = len(w.wards)
		}
	} else if err := w.take(p); err != nil {
		w.drop()
		return err
	}
	w.refused, w.search, w.held = "", 0, hold{}
	w.check = proc.Now()
	if w.o.interval == 0 && !w.o.once {
		w.check = never
	}
	return nil
}

// gone lets go of a process that has ended; the service may have another soon.
func (w *watch) gone() {
	var attrs []slog.Attr
	if w.o.follow {
		if wish, err := w.o.target.WantedState(); err == nil && !wish.Up {
			attrs = append(attrs, slog.String("why", "the service is wanted down"))
		}
	}
	if w.counting() {
		attrs = append(attrs, slog.String("stopped", "the grace timer"))
	}
	w.say(nil, slog.LevelInfo, "target-gone", attrs...)
	w.drop()
	w.check = proc.Now()
}

// counting tells whether a grace timer runs.
func (w *watch) counting() bool {
	return slices.ContainsFunc(w.wards, func(d *ward) bool { return d.state.Over && !d.state.GraceOver })
}

// find looks for the process of the service. Right after an end it looks often,
// for a supervisor starts the next within a second; later, as often as it checks.
func (w *watch) find() {
	p, err := w.o.target.Open()
	if err == nil {
		err = w.up(p)
	}
	if err == nil {
		limits, _ := w.o.limits(p.ID)
		w.say(nil, slog.LevelInfo, "target-up", limitAttrs(limits, -1)...)
		return
	}
	const soonest, latest = 100 * time.Millisecond, 3 * time.Second
	w.search = min(max(2*w.search, soonest), max(w.o.interval.Std(), soonest), latest)
	if w.o.interval == 0 {
		w.search = time.Second
	}
	w.check = proc.Now() + w.search
	if errors.Is(err, proc.ErrGone) || err.Error() == w.refused {
		return
	}
	w.refused = err.Error() // its supervisor may come back: said once, and waited for
	w.say(nil, slog.LevelWarn, "read-failed", slog.Any("err", err))
}
