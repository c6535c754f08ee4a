package watch

import (
	"fmt"
	"log/slog"
	"time"

	"gracekit/lib/grace"
)

// backOff delays a restart that cannot help, because the limit is below the
// footprint of the process, and tells whether it did.
func (l *loop) backOff(d *instance, reason grace.Reason, at time.Duration) bool {
	if reason == grace.Hard && d.memory == 0 {
		d.memory, _ = d.process.Available()
	}
	verdict := l.backoff.Decide(d.forBackoff(reason))
	if verdict.TooLow {
		l.logTooLow(d, reason, verdict, at)
	}
	if at >= verdict.NotBefore {
		return false
	}
	if reason == grace.Hard { // its size is judged again at each check
		d.state = d.state.DelayedUntil(min(verdict.NotBefore, later(at, max(l.cfg.Interval, hardEvery))))
		return true
	}
	d.state = d.state.DelayedUntil(verdict.NotBefore)
	l.dirty = true
	return true
}

// hardEvery is how soon the size is judged again at a hard limit that is too low.
const hardEvery = 200 * time.Millisecond

// reportSoftTooLow logs that the soft limit is too low as soon as the footprint is
// known, and not only when the restart is due.
func (l *loop) reportSoftTooLow(d *instance, at time.Duration) {
	if d.footprint.KB() == 0 || d.limits.Soft == 0 || d.footprint.KB() <= d.limits.Soft {
		return
	}
	if verdict := l.backoff.Decide(d.forBackoff(grace.Soft)); verdict.TooLow {
		l.logTooLow(d, grace.Soft, verdict, at)
	}
}

// logTooLow logs once for an instance that a limit is below what it needs.
func (l *loop) logTooLow(d *instance, reason grace.Reason, v grace.Verdict, at time.Duration) {
	limit := reason
	if reason == grace.Legacy {
		limit = grace.Soft
	}
	if d.tooLow[limit] {
		return
	}
	if d.tooLow == nil {
		d.tooLow = map[grace.Reason]bool{}
	}
	d.tooLow[limit] = true
	l.dirty = true
	attrs := append(d.sizes(at, reason), slog.String("limit", string(limit)))
	why := fmt.Sprintf("it was over the %s limit within a minute of its start, three times running", limit)
	if kb := d.footprint.KB(); kb > 0 {
		why = fmt.Sprintf("it had %d KB right after its boot", kb)
		attrs = append(attrs, slog.Int64("boot_kb", kb))
	}
	if growth, ok := d.footprint.GrowthPerMinute(d.kb, at); ok {
		why += fmt.Sprintf(" and has grown by %d KB a minute since", growth)
		attrs = append(attrs, slog.Int64("growth_kb_min", growth))
	}
	d.why = why + ": raise the " + string(limit) + " limit"
	attrs = append(attrs, slog.Int64("fits_kb", grace.FittingLimit(v.NeedKB)), slog.Any("wait_s", seconds(max(0, v.NotBefore-at))), slog.String("why", d.why))
	l.event(LimitTooLow, d, attrs...)
}

// forBackoff is what the back-off has to know of a restart for that reason.
func (d *instance) forBackoff(reason grace.Reason) grace.Instance {
	over := d.state.Since
	if reason == grace.Hard {
		over = d.state.HardSince
	}
	return grace.Instance{Reason: reason, Started: d.id.StartTime(), Over: over, LimitKB: d.limits.Of(reason), KB: d.kb,
		Footprint: d.footprint, Booting: d.booting, MemoryKB: d.memory}
}
