package watch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// Event is one of the log lines that are contract: its name is the message.
type Event struct {
	Name   string
	Level  slog.Level
	Fields []string // that it may have, beside level, msg, target and id
}

// The events, each with its level and its fields. docs/events.md is checked
// against them.
var (
	Watching         = Event{"watching", slog.LevelInfo, []string{"soft_kb", "hard_kb", "grace_s", "interval_s"}}
	Disabled         = Event{"disabled", slog.LevelInfo, []string{"why"}}
	OverSoft         = Event{"over-soft", slog.LevelInfo, sizeFields}
	UnderSoft        = Event{"under-soft", slog.LevelInfo, sizeFields}
	OverHard         = Event{"over-hard", slog.LevelWarn, sizeFields}
	GraceOver        = Event{"grace-over", slog.LevelWarn, sizeFields}
	RestartBegin     = Event{"restart-begin", slog.LevelWarn, append(sizeFields, "dry_run")}
	RestartDone      = Event{"restart-done", slog.LevelInfo, []string{"reason"}}
	RestartPostponed = Event{"restart-postponed", slog.LevelInfo, []string{"reason", "why", "retry_s"}}
	RestartFailed    = Event{"restart-failed", slog.LevelError, []string{"reason", "err", "retry_s"}}
	LimitTooLow      = Event{"limit-too-low", slog.LevelError, append(sizeFields, "limit", "boot_kb", "growth_kb_min", "fits_kb", "wait_s", "why")}
	TargetGone       = Event{"target-gone", slog.LevelInfo, []string{"why", "stopped"}}
	TargetUp         = Event{"target-up", slog.LevelInfo, []string{"soft_kb", "hard_kb", "grace_s"}}
	Paused           = Event{"paused", slog.LevelInfo, nil}
	Resumed          = Event{"resumed", slog.LevelInfo, nil}
	ReadFailed       = Event{"read-failed", slog.LevelWarn, []string{"err", "why"}}
)

var sizeFields = []string{"rss_kb", "soft_kb", "hard_kb", "over_s", "grace_s", "reason"}

// Events are all events.
var Events = []Event{Watching, Disabled, OverSoft, UnderSoft, OverHard, GraceOver, RestartBegin, RestartDone, RestartPostponed,
	RestartFailed, LimitTooLow, TargetGone, TargetUp, Paused, Resumed, ReadFailed}

// NewLog is a log of events: lines of slog's text, or JSON; quiet: errors alone.
func NewLog(w io.Writer, json, quiet bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if quiet {
		options.Level = slog.LevelError
	}
	if json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	options.ReplaceAttr = withoutTime
	return slog.New(slog.NewTextHandler(w, options))
}

// withoutTime leaves the time to svlogd and s6-log.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// event logs an event of an instance, or, with nil, of the target, and has
// --notify know of it.
func (l *loop) event(e Event, d *instance, attrs ...slog.Attr) { l.eventAt(e.Level, e, d, attrs...) }

func (l *loop) eventAt(level slog.Level, e Event, d *instance, attrs ...slog.Attr) {
	var id proc.ID
	switch {
	case d != nil:
		id = d.id
	case l.target != nil:
		id = l.target.ID()
	}
	all := []slog.Attr{slog.String("target", l.cfg.Target.Text)}
	if id != (proc.ID{}) {
		all = append(all, slog.String("id", id.String()))
	}
	all = append(all, attrs...)
	l.cfg.Log.LogAttrs(context.Background(), level, e.Name, all...)
	if l.notifier != nil && (level >= slog.LevelWarn || e.Name == RestartDone.Name) {
		l.notifier.send(e.Name, l.world.Now(), all)
	}
}

// report logs what a check has led to, apart from a restart that begins.
func (l *loop) report(d *instance, c grace.Decision, at time.Duration) {
	if c.OverSoft {
		l.event(OverSoft, d, d.sizeAttrs(at, "")...)
	}
	if c.UnderSoft {
		d.why, d.failed, d.tooLow = "", false, nil
		attrs := append([]slog.Attr{slog.Int64("rss_kb", d.kb)}, limitAttrs(d.limits, at-d.State.Since)...)
		l.event(UnderSoft, d, attrs...)
	}
	if c.OverHard {
		l.event(OverHard, d, d.sizeAttrs(at, c.Restart)...)
	}
	if c.GraceOver {
		l.event(GraceOver, d, d.sizeAttrs(at, c.Restart)...)
	}
	if c.SoftTooLow.TooLow {
		l.reportTooLow(d, grace.Soft, c.SoftTooLow, at)
	}
	if c.HardTooLow.TooLow {
		l.reportTooLow(d, grace.Hard, c.HardTooLow, at)
	}
	c.Restart, c.Begin, c.HardTooLow = "", false, grace.Verdict{} // a hard limit that is too low is decided anew at each check
	l.dirty = l.dirty || c != (grace.Decision{})
}

// reportTooLow logs, once for an instance, that a limit is below what it needs.
func (l *loop) reportTooLow(d *instance, limit grace.Reason, v grace.Verdict, at time.Duration) {
	if slices.Contains(d.tooLow, limit) {
		return
	}
	d.tooLow = append(d.tooLow, limit)
	l.dirty = true
	attrs := append(d.sizeAttrs(at, limit), slog.String("limit", string(limit)))
	why := fmt.Sprintf("it was over the %s limit within a minute of its start, three times running", limit)
	if kb := d.Footprint.KB(); kb > 0 {
		why = fmt.Sprintf("it had %d KB right after its boot", kb)
		attrs = append(attrs, slog.Int64("boot_kb", kb))
	}
	if growth, ok := d.Footprint.GrowthPerMinute(d.kb, at); ok {
		why += fmt.Sprintf(" and has grown by %d KB a minute since", growth)
		attrs = append(attrs, slog.Int64("growth_kb_min", growth))
	}
	d.why = why + ": raise the " + string(limit) + " limit"
	attrs = append(attrs, slog.Int64("fits_kb", grace.FittingLimit(v.NeedKB)), slog.Any("wait_s", seconds(max(0, v.NotBefore-at))), slog.String("why", d.why))
	l.event(LimitTooLow, d, attrs...)
}

// sizeAttrs are what an event has of it, and why it is to be restarted, if it is.
func (d *instance) sizeAttrs(at time.Duration, reason grace.Reason) []slog.Attr {
	over := time.Duration(-1)
	if d.State.Over {
		over = at - d.State.Since
	}
	attrs := append([]slog.Attr{slog.Int64("rss_kb", d.kb)}, limitAttrs(d.limits, over)...)
	if reason != "" {
		attrs = append(attrs, slog.String("reason", string(reason)))
	}
	return attrs
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
	if d == grace.Never {
		return "inf"
	}
	return math.Round(d.Seconds()*1000) / 1000
}
