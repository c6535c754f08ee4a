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
// --notify know of it. All but a read-failed is a change of what is kept.
func (l *loop) event(e Event, d *instance, attrs ...slog.Attr) {
	l.dirty = l.dirty || e.Name != ReadFailed.Name
	all := []slog.Attr{slog.String("target", l.cfg.Target.Text)}
	switch {
	case d != nil:
		all = append(all, slog.String("id", d.ID))
	case l.target != nil:
		all = append(all, slog.String("id", l.target.ID().String()))
	}
	all = append(all, attrs...)
	l.cfg.Log.LogAttrs(context.Background(), e.Level, e.Name, all...)
	if l.notifier != nil && (e.Level >= slog.LevelWarn || e.Name == RestartDone.Name) {
		l.notifier.send(e.Name, l.world.Now(), all)
	}
}

// logDecision logs what a check has led to, and the restart if it begins.
func (l *loop) logDecision(d *instance, c grace.Decision, begins bool, at time.Duration) {
	if c.OverSoft {
		l.event(OverSoft, d, d.sizeAttrs(at, "")...)
	}
	if c.UnderSoft {
		d.Why, d.failed, d.TooLow = "", false, nil
		attrs := append([]slog.Attr{slog.Int64("rss_kb", d.KB)}, limitAttrs(d.limits, at-d.State.Since)...)
		l.event(UnderSoft, d, attrs...)
	}
	if c.OverHard {
		l.event(OverHard, d, d.sizeAttrs(at, c.Restart)...)
	}
	if c.GraceOver {
		l.event(GraceOver, d, d.sizeAttrs(at, c.Restart)...)
	}
	l.logTooLow(d, grace.Soft, c.SoftTooLow, at)
	l.logTooLow(d, grace.Hard, c.HardTooLow, at)
	if begins {
		attrs := d.sizeAttrs(at, c.Restart)
		if l.cfg.DryRun {
			attrs = append(attrs, slog.Bool("dry_run", true))
		}
		l.event(RestartBegin, d, attrs...)
	}
}

// logTooLow logs, once for an instance, that a limit is below what it needs.
func (l *loop) logTooLow(d *instance, limit grace.Reason, v grace.Verdict, at time.Duration) {
	if !v.TooLow || slices.Contains(d.TooLow, limit) {
		return
	}
	d.TooLow = append(d.TooLow, limit)
	attrs := append(d.sizeAttrs(at, limit), slog.String("limit", string(limit)))
	why := fmt.Sprintf("it was over the %s limit within a minute of its start, three times running", limit)
	if kb := d.Footprint.KB(); kb > 0 {
		why = fmt.Sprintf("it had %d KB right after its boot", kb)
		attrs = append(attrs, slog.Int64("boot_kb", kb))
	}
	if growth, ok := d.Footprint.GrowthPerMinute(d.KB, at); ok {
		why += fmt.Sprintf(" and has grown by %d KB a minute since", growth)
		attrs = append(attrs, slog.Int64("growth_kb_min", growth))
	}
	d.Why = why + ": raise the " + string(limit) + " limit"
	attrs = append(attrs, slog.Int64("fits_kb", grace.FittingLimit(v.NeedKB)), slog.Any("wait_s", seconds(max(0, v.NotBefore-at))), slog.String("why", d.Why))
	l.event(LimitTooLow, d, attrs...)
}

// sizeAttrs are what an event has of it, and why it is to be restarted, if it is.
func (d *instance) sizeAttrs(at time.Duration, reason grace.Reason) []slog.Attr {
	over := time.Duration(-1)
	if d.State.Over {
		over = at - d.State.Since
	}
	attrs := append([]slog.Attr{slog.Int64("rss_kb", d.KB)}, limitAttrs(d.limits, over)...)
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
