package watch

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// start finds the process for the first time. What is refused now ends the watch,
// except what is a matter of time: a supervisor that has not started yet.
func (l *loop) start() error {
	p, err := l.world.Target()
	gone := errors.Is(err, proc.ErrGone)
	switch {
	case gone && (l.cfg.Once || !l.cfg.Target.IsDirectory()):
		l.cfg.Messages.Warn("%v", err)
		return ErrEnded
	case gone, err == nil:
		return l.resumeWatch(p, l.world.Now())
	case l.cfg.Once || !mayAppear(l.cfg.Target, err):
		return err
	}
	l.checkAt, l.targetErr = l.world.Now(), err.Error()
	l.event(ReadFailed, nil, slog.Any("err", err), slog.String("why", "waiting for its supervisor"))
	return nil
}

// resumeWatch opens the state file and goes on where the last gracewatch was, with
// a process, or, with nil, in search of one.
func (l *loop) resumeWatch(p process, at time.Duration) error {
	l.checkAt, l.isService = at, l.cfg.Target.IsDirectory()
	if err := l.openStore(); err != nil {
		if p != nil {
			p.Close()
		}
		return err
	}
	if p != nil {
		if err := l.attach(p, at); err != nil {
			return err
		}
	}
	l.reportExited()
	if !l.cfg.Once {
		l.event(Watching, nil, append(l.targetLimits(), slog.Any("interval_s", seconds(l.cfg.Interval)))...)
	}
	if l.kept.Paused {
		l.event(Paused, nil)
	}
	return nil
}

// mayAppear tells whether a refusal of the target is a matter of time: its
// supervisor has not started, or its directory is not there yet. A word is a name
// that may be misspelled, a path is meant.
func mayAppear(target service.Target, err error) bool {
	if errors.Is(err, service.ErrUnsupervised) {
		return true
	}
	_, err = os.Stat(target.Text)
	return errors.Is(err, fs.ErrNotExist) && strings.Contains(target.Text, "/")
}

// targetLimits are the limits of the target, for an event; those that are a share are known when
// there is a process.
func (l *loop) targetLimits() []slog.Attr {
	if l.target == nil {
		return limitAttrs(l.cfg.limits(proc.ID{}, 0), -1)
	}
	available, _ := l.target.Available()
	return limitAttrs(l.cfg.limits(l.target.ID(), available), -1)
}

// attach starts to watch the target.
func (l *loop) attach(p process, at time.Duration) error {
	l.target = p
	if !l.cfg.hasSeveral() {
		if _, err := l.addInstance(p, at); err != nil {
			l.release()
			return err
		}
	} else {
		l.listInstances(at)
		if l.restart != nil { // of an earlier gracewatch
			l.restart.count = len(l.instances)
		}
	}
	l.targetErr, l.searchWait, l.replacement = "", 0, grace.ReplacementWait{}
	l.checkAt = at
	if l.cfg.Interval == 0 && !l.cfg.Once {
		l.checkAt = grace.Never
	}
	return nil
}

// addInstance starts to watch an instance, or goes on where an earlier gracewatch was.
func (l *loop) addInstance(p process, at time.Duration) (*instance, error) {
	d := newInstance(p.ID(), p, at)
	if l.cfg.hasShares() {
		var err error
		if d.memory, err = p.Available(); err != nil {
			return nil, err
		}
	}
	l.instances[d.id] = d
	l.order = append(l.order, d)
	l.dirty = true
	l.resumeInstance(d)
	d.setLimits(l.cfg)
	return d, nil
}

// release closes the target and its instances.
func (l *loop) release() {
	for _, d := range l.order {
		if d.process != l.target {
			d.process.Close()
		}
	}
	if l.target != nil {
		l.target.Close()
	}
	clear(l.instances)
	l.order, l.target = nil, nil
}

// close ends the watch.
func (l *loop) close() {
	l.release()
	if l.store != nil {
		l.store.close()
	}
}

// detach lets go of a target that has exited; the service may have a new process
// soon.
func (l *loop) detach() error {
	var attrs []slog.Attr
	if l.isService {
		if wanted, err := l.world.Wanted(); err == nil && !wanted.Up {
			attrs = append(attrs, slog.String("why", "the service is wanted down"))
		}
	}
	if slices.ContainsFunc(l.order, func(d *instance) bool { return d.State.Over && !d.State.GraceOver }) {
		attrs = append(attrs, slog.String("stopped", "the grace timer"))
	}
	l.event(TargetGone, nil, attrs...)
	l.release()
	l.checkAt = l.world.Now()
	if !l.isService {
		return ErrEnded
	}
	return nil
}

// searchTarget searches for the process of the service. Right after an exit it does so often,
// because a supervisor starts a new process within a second; later, as often as
// it checks.
func (l *loop) searchTarget(at time.Duration) error {
	p, err := l.world.Target()
	if err == nil && l.store == nil {
		return l.resumeWatch(p, at)
	}
	if err == nil {
		l.followDirectory()
		err = l.attach(p, at)
	}
	if err == nil {
		l.event(TargetUp, nil, l.targetLimits()...)
		return nil
	}
	const soonest, latest = 100 * time.Millisecond, 3 * time.Second
	l.searchWait = min(max(2*l.searchWait, soonest), max(l.cfg.Interval, soonest), latest)
	if l.cfg.Interval == 0 {
		l.searchWait = time.Second
	}
	l.checkAt = grace.Later(at, l.searchWait)
	if errors.Is(err, proc.ErrGone) || err.Error() == l.targetErr {
		return nil
	}
	l.targetErr = err.Error() // its supervisor may come back: this is logged once
	l.event(ReadFailed, nil, slog.Any("err", err))
	return nil
}

// followDirectory goes on in what has the place of a service directory, or of its
// supervise, that was renamed or deleted: lock, state, history and FIFO are in there.
func (l *loop) followDirectory() {
	now, err := l.world.Store()
	moved := err == nil && now.directory != nil && (l.store.directory == nil || *now.directory != *l.store.directory)
	if moved {
		now.left = l.store.left
		l.store.close()
		l.store, l.kept.Directory, l.dirty = now, now.directory, true
		l.save() // it locks the state
	}
	if moved || l.history.isLost() {
		l.openHistory()
	}
}
