package watch

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"gracekit/lib/grace"
)

// restart is one that is under way.
type restart struct {
	instance *instance
	run      *progRun
	size     int64         // of the instance, when it began
	count    int           // instances that there were
	due      time.Duration // when the process has had its time to end or to shrink; 0: prog is running
	ended    exit          // how prog ended, then
}

// settleTime is how long a process may take to end after prog has exited 0: one
// that was signalled is on its way, and it takes time to give much memory back.
const settleTime = 5 * time.Second

// carryOut logs what a check has led to, and begins the restart if nothing speaks
// against it. Without a prog it is the caller's turn.
func (l *loop) carryOut(d *instance, c grace.Decision, at time.Duration) error {
	why := ""
	if c.Begin {
		why = l.refusal(d, at)
	}
	begins := c.Begin && why == "" && (l.cfg.DryRun || len(l.cfg.Prog) > 0)
	l.logDecision(d, c, begins, at)
	switch {
	case !c.Begin:
		return nil
	case why != "":
		l.postpone(d, why, at)
		return nil
	case l.cfg.DryRun:
		d.State = d.State.Postponed(d.limits, at)
		l.onceErr = errDone
		return nil
	case len(l.cfg.Prog) == 0:
		l.dirty = true
		d.State = d.State.DelayedUntil(0) // what the caller makes of it is not known: the next check starts anew
		d.State.Committed = false
		return errDone
	}
	d.Why, d.failed, d.RestartBegan = "", false, at
	l.save() // a gracewatch that is killed now begins it again
	prog, err := l.world.Start(l.argv(d), l.environ(d, at))
	if err != nil {
		l.fail(d, err.Error(), at)
		return nil
	}
	l.restart = &restart{instance: d, run: newProgRun(prog, l.cfg, at), size: d.KB, count: len(l.instances)}
	l.dirty = true
	return nil
}

// refusal is why a restart cannot be now.
func (l *loop) refusal(d *instance, at time.Duration) string {
	if l.isService {
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
	if d.State.Reason == grace.Hard || d.State.Committed || d.RestartBegan > 0 {
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

// argv is the file of prog and its arguments, in which {} stands for the identity.
func (l *loop) argv(d *instance) []string {
	argv := []string{l.cfg.File}
	for _, arg := range l.cfg.Prog {
		argv = append(argv, strings.ReplaceAll(arg, "{}", d.ID))
	}
	return argv
}

// environ are the variables that prog has of the restart.
func (l *loop) environ(d *instance, at time.Duration) []string {
	var over time.Duration
	if since, ok := d.State.OverSince(); ok {
		over = at - since
	}
	service, limit := l.target.ID().String(), d.limits.Soft
	if l.isService {
		service = l.cfg.Target.Path()
	}
	if d.State.Reason == grace.Hard {
		limit = d.limits.Hard
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		"GRACE_TARGET=" + d.ID,
		"GRACE_SERVICE=" + service,
		"GRACE_REASON=" + string(d.State.Reason),
		"GRACE_RSS_KB=" + number(d.KB),
		"GRACE_LIMIT_KB=" + number(limit),
		"GRACE_HARD_KB=" + number(d.limits.Hard),
		"GRACE_OVER_SECONDS=" + number(int64(over/time.Second)),
	}
}

// stepRestart continues a restart that is under way, and finishes it.
func (l *loop) stepRestart(at time.Duration) error {
	r := l.restart
	if r.due == 0 {
		ended, isEnded := r.run.step(at, l.cfg)
		if !isEnded {
			return nil
		}
		r.ended, r.due = ended, at
		switch {
		case r.hasSucceeded() && l.cfg.InPlace:
			r.due = grace.Later(at, l.cfg.Retry)
		case !ended.known || ended.code == 0:
			r.due = grace.Later(at, settleTime)
		}
	}
	gone, shrunk := r.instance.process.Ended(), l.cfg.InPlace && r.hasSucceeded() && r.instance.hasShrunk()
	if !gone && !shrunk && at < r.due {
		if l.cfg.InPlace {
			l.checkAt = min(l.checkAt, grace.Later(at, time.Second))
		}
		return nil
	}
	l.restart, l.dirty = nil, true
	err := l.finish(r, gone, outcomeOf(r.ended, gone, shrunk), at)
	trimMemory()
	return err
}

// hasSucceeded tells whether prog has exited 0, as far as is known.
func (r *restart) hasSucceeded() bool { return r.ended.known && r.ended.code == 0 }

// hasShrunk tells whether a restart in place has helped.
func (d *instance) hasShrunk() bool {
	limit := d.limits.ForReason(d.State.Reason)
	r, err := d.read(nil)
	return err == nil && (limit == 0 || r.kb <= limit)
}

// finish ends a restart.
func (l *loop) finish(r *restart, gone bool, outcome Outcome, at time.Duration) error {
	d := r.instance
	if gone && l.cfg.hasSeveral() { // its parent gets time to replace it
		l.replacement = grace.WaitForReplacement(r.count, d.limits, at)
		l.checkAt = at
	}
	if outcome != Unknown {
		l.recordRestart(d, r.size, outcome, at)
	}
	switch outcome {
	case Done:
		return l.complete(d, gone, at)
	case Unknown:
		d.State = d.State.Resumed()
		l.checkAt = at
	case Postponed:
		l.postpone(d, "the program exited 75: not now", at)
	case Failed:
		why := "the program ended with " + r.ended.text
		if r.ended.code == 0 && l.cfg.InPlace {
			why = fmt.Sprintf("the program exited 0, but after %v the process still has %d KB", l.cfg.Retry, d.KB)
		} else if r.ended.code == 0 {
			why = "the program exited 0, but the process is still running"
		}
		l.fail(d, why, at)
	}
	return nil
}

// complete ends a restart that the process did not survive, or shrank in, and logs
// it.
func (l *loop) complete(d *instance, gone bool, at time.Duration) error {
	l.logDone(d)
	if l.turns != nil {
		l.turns.restarted(l.target, at)
	}
	l.onceErr = errDone
	d.Why, d.failed = "", false
	if gone {
		l.kept.Backoff = d.known().Restarted(d.limits, l.kept.Backoff, d.KB, at)
	} else { // in place: it goes on, from the start
		d.RestartBegan, d.RestartedAt = 0, at
		d.setLimits(l.cfg)
	}
	d.State = grace.State{} // it is over: the next gracewatch must not count it again
	if gone && !l.isService && (d.process == l.target || l.target.Ended()) {
		return errDone
	}
	return nil
}

// logDone logs a restart that is done, and marks it in the history.
func (l *loop) logDone(d *instance) {
	l.event(RestartDone, d, slog.String("reason", string(d.State.Reason)))
	if l.history != nil {
		l.writeHistory(d.State.Reason)
	}
}

// recordRestart keeps a restart, of an instance that had that size when it began, for
// the snapshot.
func (l *loop) recordRestart(d *instance, kb int64, outcome Outcome, at time.Duration) {
	took := at - d.RestartBegan
	all := append(l.kept.Restarts, Restart{ID: d.ID, At: l.world.Wall().Add(-took), Reason: d.State.Reason, Outcome: outcome, KB: kb, Took: took})
	l.kept.Restarts = all[max(0, len(all)-mostRestarts):]
	if outcome == Done {
		l.kept.Counts.Done[d.State.Reason]++
	}
}

const mostRestarts = 10

// postpone ends a restart that cannot be now, and logs it.
func (l *loop) postpone(d *instance, why string, at time.Duration) {
	d.Why = why
	l.event(RestartPostponed, d, slog.String("reason", string(d.State.Reason)), slog.String("why", why),
		slog.Any("retry_s", seconds(d.limits.Retry)))
	d.State = d.State.Postponed(d.limits, at)
	l.kept.Counts.Postponed++
	l.onceErr = ErrPostponed
}

// fail ends a restart that may have quieted the process, and logs it.
func (l *loop) fail(d *instance, why string, at time.Duration) {
	d.Why, d.failed = why, true
	l.event(RestartFailed, d, slog.String("reason", string(d.State.Reason)), slog.String("err", why),
		slog.Any("retry_s", seconds(d.limits.Retry)))
	d.State = d.State.Failed(d.limits, at)
	l.kept.Counts.Failed++
	l.onceErr = ErrFailed
}
