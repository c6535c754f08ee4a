package watch

import (
	"errors"
	"log/slog"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// How a watch ends, apart from a refusal. Each was logged already.
var (
	ErrEnded     = errors.New("the process exited by itself")
	ErrNotDue    = errors.New("it is not time for a restart")
	ErrPostponed = errors.New("the restart was postponed")
	ErrFailed    = errors.New("the restart failed")
)

// errDone ends the loop: nothing is left to do.
var errDone = errors.New("done")

// loop is the one loop of a watcher.
type loop struct {
	cfg      *Config
	world    world
	store    *store    // nil: it was not opened yet
	history  *history  // nil: none is kept, or it cannot be opened
	notifier *notifier // nil: nobody is notified
	turns    *turns    // nil: no other watcher may act in our place

	kept      Snapshot              // of the whole watch; the instances are added when it is written
	dirty     bool                  // the snapshot is to be written
	isService bool                  // the target is a directory, which may be away for a moment: it has one process after another
	target    process               // nil: there is none now
	instances map[proc.ID]*instance // what is watched: the target, or those in its scope
	order     []*instance           // the same, as they were listed
	listing   int                   // counts the listings

	restart     *restart              // that is under way
	replacement grace.ReplacementWait // why no other instance may be restarted yet
	checkAt     time.Duration         // when the next check is due, or the next search
	searchWait  time.Duration         // before the next search
	hookAt      time.Duration         // of the last command of the job hook; 0: none
	silenceAt   time.Duration         // when it is logged that no command has come
	wrapperAt   time.Duration         // when it is checked whether the target is a wrapper; never again once that was logged
	targetErr   string                // why there is no process, if that was logged
	historyAt   time.Duration         // when the next sample of the history is due; Never: none is kept
	historyErr  fault
	listFault   fault
	onceErr     error // how --once ends
}

func newLoop(cfg *Config, w world) *loop {
	l := &loop{cfg: cfg, world: w, instances: map[proc.ID]*instance{}, silenceAt: grace.Never, historyAt: grace.Never,
		kept: Snapshot{Counts: Counts{Done: map[grace.Reason]int64{}}}}
	if cfg.Interval == 0 && cfg.Control != "" {
		l.silenceAt = w.Now() + hookSilence
	}
	return l
}

// run goes on until the watch ends; nil: a signal or a command ended it, or the
// target was restarted and nothing else is to be watched.
func (l *loop) run() error {
	for {
		now, err := l.world.Wait(l.waits())
		if err != nil || now.stop {
			return err
		}
		err = l.step(now)
		l.save()
		switch {
		case err == errDone:
			return nil
		case err != nil:
			return err
		}
	}
}

// phase is what the loop is doing, and so what it waits for.
type phase uint8

const (
	searching  phase = iota // the target has no process
	watching                // its instances are checked
	restarting              // prog runs for one of them
	settling                // prog has exited 0, and the process may need a moment to end or to shrink
	paused                  // on command
)

// phase follows from the restart, the target and the pause, here alone.
func (l *loop) phase() phase {
	switch {
	case l.restart != nil && l.restart.due == 0:
		return restarting
	case l.restart != nil:
		return settling
	case l.target == nil:
		return searching
	case l.kept.Paused:
		return paused
	}
	return watching
}

// waits is what the loop waits for, by its phase.
func (l *loop) waits() waits {
	on := waits{until: l.nextCheck()}
	switch l.phase() {
	case watching, paused:
		on.process = l.target
	case restarting:
		on.prog, on.until = l.restart.run.running, min(l.restart.run.deadline, on.until)
	case settling:
		on.process, on.until = l.restart.instance.process, min(l.restart.due, on.until)
	}
	on.until = min(on.until, l.silenceAt, l.historyAt)
	return on
}

// nextCheck is when the next check is: at the interval, or when a grace time, a retry
// time or a wait ends, whichever comes first. During a restart it is one of the others,
// and of whether the one that is restarted passes the hard limit.
func (l *loop) nextCheck() time.Duration {
	at := l.checkAt
	switch l.phase() {
	case searching:
		return at
	case paused:
		return grace.Never
	case restarting, settling:
		if l.kept.Paused || l.target == nil || l.target.Ended() {
			return grace.Never
		}
		return at
	}
	if l.replacement.Active() {
		return min(at, l.replacement.Until)
	}
	for _, d := range l.order {
		if next, ok := d.State.Next(d.limits); ok && d.unreadableSince == 0 {
			at = min(at, next)
		}
	}
	return at
}

// step handles what has happened.
func (l *loop) step(now woken) error {
	if len(now.commands) > 0 {
		if err := l.handleCommands(now.commands, now.hook); err != nil {
			return err
		}
	}
	at := l.world.Now()
	l.warnSilent(at)
	l.sampleHistory(at)
	if l.restart != nil {
		if err := l.stepRestart(at); err != nil {
			return err
		}
	}
	var err error
	switch phase := l.phase(); {
	case (phase == watching || phase == paused) && l.target.Ended():
		err = l.detach()
	case at < l.nextCheck():
	case phase == searching:
		err = l.searchTarget(at)
	default:
		err = l.checkAll(at, false)
	}
	if err == nil && l.cfg.Once && l.restart == nil {
		return l.onceResult()
	}
	return err
}

// checkAll is one check, asked for by a command or by the clock. It allocates
// nothing for one process as long as nothing changes.
func (l *loop) checkAll(at time.Duration, command bool) error {
	l.scheduleCheck(at)
	if l.kept.Paused {
		return nil
	}
	if l.cfg.hasSeveral() {
		l.listInstances(at)
	}
	if l.replacement.Active() {
		l.replacement = l.replacement.Update(len(l.instances), at)
		l.checkAt = min(l.checkAt, grace.Later(at, time.Second)) // the next restart waits for the parent, and not for the interval
	}
	sample := grace.Sample{At: at}
	if l.cfg.hasJobHook() && !command {
		sample.Reversible = true
		sample.HardOnly = l.hookAt > 0 && at-l.hookAt < hookSilence
	}
	for _, d := range l.order {
		sample.Blocked = l.restart != nil || l.replacement.Active()
		decision, changed, err := d.check(l.cfg, &l.kept.Backoff, sample)
		l.dirty = l.dirty || changed
		switch {
		case err != nil:
			l.logUnreadable(d, err, at)
		case decision != (grace.Decision{}):
			if err := l.carryOut(d, decision, at); err != nil {
				return err
			}
		}
	}
	if l.turns != nil {
		l.turns.renew(l.target, at)
	}
	l.logWrapper(at)
	return nil
}

// scheduleCheck sets the time of the next check. One that was late, because the machine
// slept, or early, because something was due, starts the interval anew.
func (l *loop) scheduleCheck(at time.Duration) {
	interval := l.cfg.Interval
	switch {
	case interval == 0 || l.kept.Paused:
		l.checkAt = grace.Never
	case at < l.checkAt, at-l.checkAt > interval:
		l.checkAt = grace.Later(at, interval)
	default:
		l.checkAt = grace.Later(l.checkAt, interval)
	}
}

// logUnreadable is a check without a result: it is logged once, and never acted on.
// The end of a process that is ending is reported as such.
func (l *loop) logUnreadable(d *instance, err error, at time.Duration) {
	if l.restart != nil && l.restart.instance == d {
		return
	}
	if d.unreadableSince == 0 {
		d.unreadableSince = at
	}
	if l.cfg.Interval == 0 { // nobody may ask again, and something may be due
		l.checkAt = min(l.checkAt, grace.Later(at, time.Second))
	}
	ending := errors.Is(err, proc.ErrGone) && at-d.unreadableSince < settleTime
	if d.unreadableLogged || ending || d.process.Ended() {
		return
	}
	d.unreadableLogged = true
	l.event(ReadFailed, d, slog.Any("err", err))
}

// onceResult is how one check ends.
func (l *loop) onceResult() error {
	switch {
	case l.onceErr != nil:
		return l.onceErr
	case l.target == nil:
		return ErrEnded
	case len(l.cfg.Prog) == 0:
		return ErrNotDue
	}
	return errDone
}
