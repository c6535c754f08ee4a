package watch

import (
	"errors"
	"log/slog"
	"slices"
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

// phase is what the loop is doing, and so what it waits for.
type phase uint8

const (
	searching  phase = iota // the target has no process
	watching                // its instances are checked
	restarting              // prog runs for one of them
	settling                // prog has exited 0, and the process may need a moment to end or to shrink
	paused                  // on command
)

// loop is the one loop of a watcher.
type loop struct {
	cfg      *Config
	world    world
	store    *store    // nil: no state is kept
	history  *history  // nil: none is kept
	notifier *notifier // nil: nobody is notified
	turns    *turns    // nil: no other watcher may act in our place

	phase     phase
	target    process               // nil: there is none now
	instances map[proc.ID]*instance // what is watched: the target, or those in its scope
	order     []*instance           // the same, as they were listed
	restart   *restart              // of restarting and settling

	paused      bool                  // also while a restart is under way
	replacement grace.ReplacementWait // why no other instance may be restarted yet
	backoff     grace.Backoff
	restarts    []Restart // the last ten
	counts      Counts

	checkAt       time.Duration // when the next check is due
	round         int           // counts the listings
	listErrLogged bool          // that some cannot be watched was logged
	machine       int64         // its memory and swap, KB
	searchWait    time.Duration // before the next search
	targetErr     string        // why there is no process, if that was logged
	wrapper       wrapperLog
	hookAt        time.Duration // of the last command of the job hook; 0: none
	silenceAt     time.Duration // when it is logged that no command has come
	onceErr       error         // how --once ends
	opened        bool          // the state file was
	dirty         bool          // the snapshot is due
}

func newLoop(cfg *Config, w world) *loop {
	l := &loop{cfg: cfg, world: w, instances: map[proc.ID]*instance{}, machine: machineKB(), silenceAt: grace.Never,
		counts: Counts{Done: map[grace.Reason]int64{}}}
	if cfg.Interval == 0 && cfg.Control != "" {
		l.silenceAt = w.Now() + hookSilence
	}
	return l
}

// hookSilence is how long nothing may come from a job hook before the clock checks
// in its place, or, where the clock does not, that is logged.
const hookSilence = 10 * time.Minute

// run goes on until the watch ends; nil: a signal or a command ended it, or the
// target was restarted and nothing else is to be watched.
func (l *loop) run() error {
	for {
		now, err := l.world.Wait(l.waits())
		if err != nil {
			return err
		}
		if now.stop {
			return nil
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

// waits is what the loop waits for, by its phase.
func (l *loop) waits() waits {
	on := waits{until: grace.Never}
	switch l.phase {
	case searching:
		on.until = l.checkAt
	case watching:
		on.process, on.until = l.target, l.nextCheck()
	case paused:
		on.process = l.target
	case restarting:
		on.prog, on.until = l.restart.run.running, min(l.restart.run.deadline, l.nextCheckInRestart())
	case settling:
		on.process, on.until = l.restart.instance.process, min(l.restart.due, l.nextCheckInRestart())
	}
	on.until = min(on.until, l.silenceAt, l.historyDue())
	return on
}

// nextCheckInRestart is when the next check is during a restart: of the others, and of
// whether the one that is restarted passes the hard limit.
func (l *loop) nextCheckInRestart() time.Duration {
	if l.paused || l.target == nil || l.target.Ended() {
		return grace.Never
	}
	return l.checkAt
}

// nextCheck is when the next check is: at the interval, or when a grace time, a retry
// time or a wait ends, whichever comes first.
func (l *loop) nextCheck() time.Duration {
	at := l.checkAt
	if l.replacement.Active() {
		return min(at, l.replacement.Until)
	}
	for _, d := range l.instances {
		if next, ok := d.State.Next(d.limits); ok && d.unreadable.since == 0 {
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
	switch l.phase {
	case searching:
		if at >= l.checkAt {
			err = l.searchTarget(at)
		}
	case restarting, settling:
		if at >= l.nextCheckInRestart() {
			l.checkAll(at, false)
		}
	default:
		err = l.stepWatching(at)
	}
	if err == nil && l.cfg.Once && l.restart == nil {
		return l.onceResult()
	}
	return err
}

func (l *loop) stepWatching(at time.Duration) error {
	if l.target.Ended() {
		l.detach()
		if !l.mayBeReplaced() {
			return ErrEnded
		}
		return nil
	}
	if l.phase == watching && at >= l.nextCheck() {
		return l.checkAll(at, false)
	}
	return nil
}

// mayBeReplaced tells whether another process of the target may come.
func (l *loop) mayBeReplaced() bool { return l.cfg.Target.IsDirectory() }

// setPhase is the phase without a restart.
func (l *loop) setPhase() {
	switch {
	case l.target == nil:
		l.phase = searching
	case l.paused:
		l.phase = paused
	default:
		l.phase = watching
	}
}

// scheduleCheck sets the time of the next check. One that was late, because the machine
// slept, or early, because something was due, starts the interval anew.
func (l *loop) scheduleCheck(at time.Duration) {
	interval := l.cfg.Interval
	switch {
	case interval == 0 || l.paused:
		l.checkAt = grace.Never
	case at < l.checkAt, at-l.checkAt > interval:
		l.checkAt = grace.Later(at, interval)
	default:
		l.checkAt = grace.Later(l.checkAt, interval)
	}
}

// checkAll is one check, asked for by a command or by the clock. It allocates
// nothing for one process as long as nothing changes.
func (l *loop) checkAll(at time.Duration, command bool) error {
	l.scheduleCheck(at)
	if l.paused {
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
		if err := l.checkInstance(d, sample); err != nil {
			return err
		}
	}
	if l.turns != nil {
		l.turns.renew(l.target, at)
	}
	l.logWrapper(at)
	return nil
}

// checkInstance reads one process, decides, and acts.
func (l *loop) checkInstance(d *instance, sample grace.Sample) error {
	at := sample.At
	if l.cfg.hasShares() && at-d.limitsAt+l.cfg.Interval > shareEvery { // the next check would be too late
		l.refreshLimits(d, at)
	}
	sample, noted, err := d.read(sample, l.largestCredible())
	if err != nil {
		if l.restart == nil || l.restart.instance != d {
			l.logUnreadable(d, err, at)
		}
		return nil
	}
	d.unreadable = unreadable{}
	next, backoff, decision := d.Check(d.limits, l.backoff, sample)
	l.dirty = l.dirty || noted || next.Footprint != d.Footprint || backoff != l.backoff
	d.Instance, l.backoff = next, backoff
	if decision == (grace.Decision{}) {
		return nil
	}
	return l.act(d, decision, at)
}

// largestCredible is the largest size that can be true. A sum counts more than once what is
// shared.
func (l *loop) largestCredible() int64 {
	if l.cfg.Match == "" && (l.cfg.Scope == proc.ScopeGroup || l.cfg.Scope == proc.ScopeTree) {
		return int64(grace.Never)
	}
	return l.machine
}

// shareEvery is how old limits may get that are a share of the memory there is:
// that of a container can be changed while it runs.
const shareEvery = 5 * time.Second

// refreshLimits works out limits that are a share. Where that fails, the last
// ones stay.
func (l *loop) refreshLimits(d *instance, at time.Duration) {
	d.limitsAt = at
	available, err := d.process.Available()
	if err != nil || available == d.memory {
		return
	}
	old := d.limits.MaxAgeAt
	d.memory, d.limits = available, l.cfg.limits(d.id, available)
	d.limits.MaxAgeAt = old
	l.dirty = true
}

// logUnreadable is a check without a result: it is logged once, and never acted on.
// The end of a process that is ending is reported as such.
func (l *loop) logUnreadable(d *instance, err error, at time.Duration) {
	if d.unreadable.since == 0 {
		d.unreadable.since = at
	}
	if l.cfg.Interval == 0 { // nobody may ask again, and something may be due
		l.checkAt = min(l.checkAt, grace.Later(at, time.Second))
	}
	ending := errors.Is(err, proc.ErrGone) && at-d.unreadable.since < settleTime
	if d.unreadable.logged || ending || d.process.Ended() {
		return
	}
	d.unreadable.logged = true
	l.event(ReadFailed, d, slog.Any("err", err))
}

// isTimerRunning tells whether a grace timer runs.
func (l *loop) isTimerRunning() bool {
	for _, d := range l.instances {
		if d.State.Over && !d.State.GraceOver {
			return true
		}
	}
	return false
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

// removeInstance ends the watch of an instance.
func (l *loop) removeInstance(d *instance) {
	delete(l.instances, d.id)
	l.order = slices.DeleteFunc(l.order, func(o *instance) bool { return o == d })
	if d.process != l.target {
		d.process.Close()
	}
	l.dirty = true
}
