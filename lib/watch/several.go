package watch

import (
	"errors"
	"log/slog"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// listInstances finds the instances of a scope that has several: some are new, some have
// exited.
func (l *loop) listInstances(at time.Duration) {
	found, err := l.world.Instances(l.target)
	if err != nil {
		if !errors.Is(err, proc.ErrGone) && l.listFault.begins(err) { // its end is reported elsewhere
			l.event(ReadFailed, nil, slog.Any("err", err))
		}
		return
	}
	l.listing++
	l.order = l.order[:0]
	var failed error
	for _, id := range found {
		if err := l.addListed(id, at); err != nil && !errors.Is(err, proc.ErrGone) {
			failed = err
		}
	}
	if l.listFault.begins(failed) {
		event := ReadFailed
		event.Level = slog.LevelError
		l.event(event, nil, slog.String("why", "not all instances can be watched"), slog.Any("err", failed))
	}
	for _, d := range l.instances {
		if d.listing != l.listing {
			l.keepOrRemove(d, len(found) > 0)
		}
	}
	if len(l.order) == 0 && l.cfg.Scope != proc.ScopeChildren {
		l.addInstance(l.target, at) // a Sidekiq that boots, or a wrapper that has not started it
	}
}

// addListed attaches to one of a listing.
func (l *loop) addListed(id proc.ID, at time.Duration) error {
	if d := l.instances[id]; d != nil {
		d.listing = l.listing
		l.order = append(l.order, d)
		return nil
	}
	p, err := l.target, error(nil)
	if id != p.ID() { // that is open
		p, err = l.world.Open(id)
	}
	if err != nil {
		return err
	}
	d, err := l.addInstance(p, at)
	if err != nil {
		if p != l.target {
			p.Close()
		}
		return err
	}
	d.listing = l.listing
	if p != l.target {
		l.event(TargetUp, d, limitAttrs(d.limits, -1)...)
	}
	return nil
}

// keepOrRemove removes an instance that is not in the last listing if it has exited:
// a listing may leave one out while others exit. It removes the target itself,
// which stood in, when there are others.
func (l *loop) keepOrRemove(d *instance, others bool) {
	beingRestarted := l.restart != nil && l.restart.instance == d
	stoodIn := d.isStandIn() && others
	if beingRestarted || !stoodIn && !d.process.Ended() {
		l.order = append(l.order, d)
		return
	}
	delete(l.instances, d.id)
	l.dirty = true
	if d.process == l.target {
		return
	}
	l.event(TargetGone, d)
	d.process.Close()
}

// isStandIn tells, in a scope of several, whether it is the target itself, as long as
// there is nobody else to watch.
func (d *instance) isStandIn() bool { return d.listing == 0 }

// logWrapper logs once that the Sidekiqs below the target are watched, or that
// none is, and something below it is much larger.
func (l *loop) logWrapper(at time.Duration) {
	if l.wrapperAt == grace.Never || l.cfg.Match != "" || l.cfg.Scope != proc.ScopeSidekiq {
		return
	}
	own := l.instances[l.target.ID()]
	if own == nil && len(l.instances) > 0 {
		l.wrapperAt = grace.Never
		l.cfg.Messages.Info("%v is a wrapper: watching %d Sidekiqs below it", l.target.ID(), len(l.instances))
		return
	}
	if own == nil || !own.isStandIn() || at < l.wrapperAt {
		return
	}
	l.wrapperAt = grace.Later(at, time.Minute)
	const much = 10
	if id, kb := l.world.LargestBelow(l.target); own.KB > 0 && kb >= much*own.KB {
		l.wrapperAt = grace.Never
		l.cfg.Messages.Warn("%v has %d KB, but %v, below it, has %d KB and is not a Sidekiq: set --match or --scope (MEMORY_KILLER_MATCH, MEMORY_KILLER_SCOPE)",
			l.target.ID(), own.KB, id, kb)
	}
}
