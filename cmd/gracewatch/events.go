package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// events says what happens, one line each.
type events struct {
	log    *slog.Logger
	target string
}

func newLog(stderr io.Writer, o options) events {
	level := slog.LevelInfo
	if o.quiet {
		level = slog.LevelError
	}
	var handler slog.Handler
	if o.json {
		handler = slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level})
	} else {
		handler = slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime})
	}
	return events{slog.New(handler), o.target.Text}
}

// withoutTime leaves the time to svlogd and s6-log.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// say is an event of a process that is known.
func (e events) say(level slog.Level, event string, id proc.ID, attrs ...slog.Attr) {
	all := []slog.Attr{slog.String("target", e.target)}
	if id != (proc.ID{}) {
		all = append(all, slog.String("id", id.String()))
	}
	all = append(all, attrs...)
	e.log.LogAttrs(context.Background(), level, event, all...)
}

func (e events) disabled() {
	e.say(slog.LevelInfo, "disabled", proc.ID{}, slog.String("why", "no limit is above 0"))
}

// limitAttrs are the limits that there are, and, if it is not negative, how long
// the soft one has been passed.
func limitAttrs(l grace.Limits, over time.Duration) (attrs []slog.Attr) {
	if l.Soft > 0 {
		attrs = append(attrs, slog.Int64("soft_kb", l.Soft))
	}
	if l.Hard > 0 {
		attrs = append(attrs, slog.Int64("hard_kb", l.Hard))
	}
	if over >= 0 {
		attrs = append(attrs, slog.Any("over_s", seconds(over)))
	}
	if l.Soft > 0 {
		attrs = append(attrs, slog.Any("grace_s", seconds(l.Grace)))
	}
	return attrs
}

// seconds is a duration for a log line, to the millisecond.
func seconds(d time.Duration) any {
	if d == math.MaxInt64 {
		return "inf"
	}
	return math.Round(d.Seconds()*1000) / 1000
}
