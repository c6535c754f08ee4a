package watch

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"gracekit/lib/grace"
)

// restart is one that is under way.
type restart struct {
	instance *instance
	run      *progRun
	size     int64         // of the instance, when it began
	count    int           // instances that there were
	due      time.Duration // in settling: when the process has had its time
	ended    exit          // in settling: how prog ended
}

// settleTime is how long a process may take to end after prog has exited 0: one
// that was signalled is on its way, and it takes time to give much memory back.
const settleTime = 5 * time.Second

// act logs a decision, and starts prog if a restart begins and nothing speaks
// against it. Without a prog it is the caller's turn.
func (l *loop) act(d *instance, decision grace.Decision, at time.Duration) error {
	l.report(d, decision, at)
	if !decision.Begin {
		return nil
	}
	if why := l.refusal(d, at); why != "" {
		l.postpone(d, at, slog.String("why", why))
		d.why = why
		return nil
	}
	attrs := d.sizeAttrs(at, d.State.Reason)
	switch {
	case l.cfg.DryRun:
		l.event(RestartBegin, d, append(attrs, slog.Bool("dry_run", true))...)
		d.State = d.State.Postponed(d.limits, at)
		l.onceErr = errDone
		return nil
	case len(l.cfg.Prog) == 0:
		l.dirty = true
		d.State = d.State.DelayedUntil(0) // what the caller makes of it is not known: the next check starts anew
		d.State.Committed = false
		return errDone
	}
	l.event(RestartBegin, d, attrs...)
	d.why, d.failed, d.restartBegan = "", false, at
	l.dirty = true
	l.save() // a gracewatch that is killed now begins it again
	prog, err := l.world.Start(expand(l.cfg.File, l.cfg.Prog, d.id.String()), l.environ(d, at))
	if err != nil {
		l.fail(d, err.Error(), at)
		return nil
	}
	l.restart = &restart{instance: d, run: newProgRun(prog, l.cfg, at), size: d.kb, count: len(l.instances)}
	l.phase, l.dirty = restarting, true
	return nil
}

// refusal is why a restart cannot be now.
func (l *loop) refusal(d *instance, at time.Duration) string {
	if l.mayBeReplaced() {
		switch wanted, err := l.world.Wanted(); { // its operator wins
		case err != nil:
			return err.Error()
		case wanted.Paused:
			return "the service is paused"
		case !wanted.Up:
			return "the service is wanted down"
		}
	}
	if d.process.Frozen() { // TERM would wait for its thaw, and so would KILL
		return "its cgroup is frozen"
	}
	if l.turns != nil && d.State.Reason != grace.Control {
		if why := l.turns.refusal(l.target, at); why != "" {
			return why
		}
	}
	if d.State.Reason == grace.Hard || d.State.Committed || d.restartBegan > 0 {
		return ""
	}
	return l.quietedByOther(d, at)
}

// longQuiet is how long an idle process may stay quiet before it is restarted.
const longQuiet = time.Hour

// quietedByOther is the refusal of a restart of a Sidekiq that somebody else has
// quieted: a deploy that is about to stop it, most likely. One that is forgotten
// so works for nobody, and is restarted in the end.
func (l *loop) quietedByOther(d *instance, at time.Duration) string {
	quiet, idle := d.process.Quiet()
	switch {
	case !quiet:
		d.idleSince = 0
		return ""
	case !idle:
		d.idleSince = 0
		return "something else has quieted it, and it still has jobs"
	case d.idleSince == 0:
		d.idleSince = at
	case at-d.idleSince >= longQuiet:
		l.cfg.Messages.Error("%v was quieted by something else and has been idle for %v: restarting it", d.id, longQuiet)
		return ""
	}
	return "something else has quieted it"
}

// environ are the variables that prog has of the restart.
func (l *loop) environ(d *instance, at time.Duration) []string {
	var over time.Duration
	if since, ok := d.State.OverSince(); ok {
		over = at - since
	}
	limit := d.limits.Soft
	if d.State.Reason == grace.Hard {
		limit = d.limits.Hard
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		"GRACE_TARGET=" + d.id.String(),
		"GRACE_SERVICE=" + l.service(),
		"GRACE_REASON=" + string(d.State.Reason),
		"GRACE_RSS_KB=" + number(d.kb),
		"GRACE_LIMIT_KB=" + number(limit),
		"GRACE_HARD_KB=" + number(d.limits.Hard),
		"GRACE_OVER_SECONDS=" + number(int64(over/time.Second)),
	}
}

// service is the service directory, else the identity of the target.
func (l *loop) service() string {
	if l.mayBeReplaced() {
		return l.cfg.Target.Text
	}
	return l.target.ID().String()
}

// stepRestart continues a restart that is under way, and finishes it.
func (l *loop) stepRestart(at time.Duration) error {
	r := l.restart
	if l.phase == restarting {
		ended, isEnded := r.run.step(at, l.cfg)
		if !isEnded {
			return nil
		}
		l.phase, r.ended, r.due = settling, ended, at
		switch {
		case l.cfg.InPlace && ended.known && ended.code == 0:
			r.due = grace.Later(at, l.cfg.Retry)
		case !ended.known || ended.code == 0:
			r.due = grace.Later(at, settleTime)
		}
	}
	gone, shrunk := r.instance.process.Ended(), l.hasShrunk(r)
	if !gone && !shrunk && at < r.due {
		if l.cfg.InPlace {
			l.checkAt = min(l.checkAt, grace.Later(at, time.Second))
		}
		return nil
	}
	l.restart, l.dirty = nil, true
	err := l.finish(r, gone, outcomeOf(r.ended, gone, shrunk), at)
	l.setPhase()
	trimMemory()
	return err
}

// hasShrunk tells whether a restart in place has helped.
func (l *loop) hasShrunk(r *restart) bool {
	d := r.instance
	if !l.cfg.InPlace || !r.ended.known || r.ended.code != 0 || d.measure(l.largestCredible()) != nil {
		return false
	}
	limit := d.limits.ForReason(d.State.Reason)
	return limit == 0 || d.kb <= limit
}

// finish ends a restart.
func (l *loop) finish(r *restart, gone bool, outcome Outcome, at time.Duration) error {
	d := r.instance
	if gone && l.cfg.hasSeveral() { // its parent gets time to replace it
		l.replacement = grace.WaitForReplacement(r.count, d.limits, at)
		l.checkAt = at
	}
	switch outcome {
	case Done:
		return l.complete(r, gone, at)
	case Unknown:
		d.State = d.State.Resumed()
		l.checkAt = at
	case Postponed:
		d.why = "the program exited 75: not now"
		l.recordRestart(r, outcome, at)
		l.postpone(d, at)
	case Failed:
		why := "the program ended with " + r.ended.text
		if r.ended.code == 0 && l.cfg.InPlace {
			why = fmt.Sprintf("the program exited 0, but after %v the process still has %d KB", l.cfg.Retry, d.kb)
		} else if r.ended.code == 0 {
			why = "the program exited 0, but the process is still running"
		}
		l.recordRestart(r, outcome, at)
		l.fail(d, why, at)
	}
	return nil
}

// complete ends a restart that the process did not survive, or shrank in, and logs
// it.
func (l *loop) complete(r *restart, gone bool, at time.Duration) error {
	d, reason := r.instance, r.instance.State.Reason
	l.event(RestartDone, d, slog.String("reason", string(reason)))
	l.recordRestart(r, Done, at)
	l.markHistory(reason)
	if l.turns != nil {
		l.turns.restarted(l.target, at)
	}
	l.onceErr = errDone
	d.why, d.failed = "", false
	if !gone { // in place: it goes on, from the start
		d.State = grace.State{}
		if d.limits.MaxAgeAt > 0 {
			d.limits.MaxAgeAt = grace.Later(at, l.cfg.MaxAge)
		}
		return nil
	}
	l.backoff = d.Restarted(d.limits, l.backoff, d.kb, at)
	d.State = grace.State{} // it is over: the next gracewatch must not count it again
	if !l.mayBeReplaced() && (d.process == l.target || l.target.Ended()) {
		return errDone
	}
	return nil
}

// recordRestart keeps a restart for the snapshot.
func (l *loop) recordRestart(r *restart, outcome Outcome, at time.Duration) {
	took := at - r.instance.restartBegan
	l.restarts = append(l.restarts, Restart{ID: r.instance.id.String(), At: l.world.Wall().Add(-took), Reason: r.instance.State.Reason,
		Outcome: outcome, KB: r.size, Took: took})
	if len(l.restarts) > mostRestarts {
		l.restarts = l.restarts[len(l.restarts)-mostRestarts:]
	}
	if outcome == Done {
		l.counts.Done[r.instance.State.Reason]++
	}
}

const mostRestarts = 10

// postpone ends a restart that cannot be now, and logs it.
func (l *loop) postpone(d *instance, at time.Duration, why ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("reason", string(d.State.Reason))}, why...)
	l.event(RestartPostponed, d, append(attrs, slog.Any("retry_s", seconds(d.limits.Retry)))...)
	d.State = d.State.Postponed(d.limits, at)
	l.counts.Postponed++
	l.dirty = true
	l.onceErr = ErrPostponed
}

// fail ends a restart that may have quieted the process, and logs it.
func (l *loop) fail(d *instance, why string, at time.Duration) {
	d.why, d.failed = why, true
	l.event(RestartFailed, d, slog.String("reason", string(d.State.Reason)), slog.String("err", why),
		slog.Any("retry_s", seconds(d.limits.Retry)))
	d.State = d.State.Failed(d.limits, at)
	l.counts.Failed++
	l.dirty = true
	l.onceErr = ErrFailed
}
