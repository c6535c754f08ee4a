package main

import (
	"errors"
	"log/slog"
	"time"

	"gracekit/lib/proc"
)

// gone lets go of a process that has ended; the service may have another soon.
func (w *watch) gone() {
	w.say(slog.LevelInfo, "target-gone")
	w.process.Close()
	w.process = nil
	w.check = now()
}

// find looks for the process of the service. Right after an end it looks often,
// for a supervisor starts the next within a second; later, as often as it checks.
func (w *watch) find() {
	p, err := w.o.target.Open()
	if err == nil {
		err = w.up(p)
	}
	if err == nil {
		w.say(slog.LevelInfo, "target-up", limitAttrs(w.limits)...)
		return
	}
	const soonest, latest = 100 * time.Millisecond, 3 * time.Second
	w.search = min(max(2*w.search, soonest), max(w.o.interval.Std(), soonest), latest)
	w.check = now() + w.search
	if errors.Is(err, proc.ErrGone) || err.Error() == w.refused {
		return
	}
	w.refused = err.Error() // its supervisor may come back: said once, and waited for
	w.say(slog.LevelWarn, "read-failed", slog.Any("err", err))
}
