package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// openStore opens the state file, and resumes what the last gracewatch left in it.
// The error ends the watch.
func (l *loop) openStore() (err error) {
	if l.store, err = l.world.Store(); err != nil {
		return err
	}
	if l.store.path != "" {
		if err := l.resumeState(); err != nil {
			return err
		}
	}
	l.openHistory()
	return nil
}

// resumeState locks the state file, and resumes what it has of the watch as a whole.
func (l *loop) resumeState() error {
	c, s := l.cfg, l.store
	l.dirty = true
	if !c.DryRun { // a dry run only reads it, and leaves it to the one that restarts
		err := s.acquireLock()
		if errors.Is(err, ErrLocked) {
			return fmt.Errorf("%s: %w%s", s.path, err, l.holder())
		}
		if s.fault.begins(err) { // its disk may be full, for now
			c.Messages.Error("cannot keep the state: %v", err)
		}
	}
	left, err := s.load(l.world.Now())
	if err != nil {
		c.Messages.Warn("%s: not resumed: %v", s.path, err)
	}
	l.kept = Snapshot{Version: SnapshotVersion, Boot: s.boot, Target: c.Target.Text, Directory: s.directory, Watcher: s.self,
		Scope: c.scopeName(), Match: c.Match, Measure: c.Measure, Soft: c.Soft.String(), Hard: c.Hard.String(),
		Grace: c.Grace, Interval: c.Interval, Retry: c.Retry, Legacy: c.Legacy, Control: s.control,
		Paused: (left.Paused || l.kept.Paused) && s.control != "", Backoff: left.Backoff, Restarts: left.Restarts, Counts: left.Counts}
	if left.Paused && !l.kept.Paused {
		c.Messages.Warn("%s: it was paused and is resumed: without a control FIFO nobody could resume it", s.path)
	}
	if l.kept.Counts.Done == nil {
		l.kept.Counts.Done = map[grace.Reason]int64{}
	}
	s.left = left.Instances
	sameSoft, sameHard := left.Soft == l.kept.Soft, left.Hard == l.kept.Hard
	if !sameSoft {
		l.kept.Backoff.Soft = grace.Streak{}
	}
	if !sameHard {
		l.kept.Backoff.Hard = grace.Streak{}
	}
	if !sameSoft || !sameHard {
		s.resetForNewLimits(c.Legacy && !sameSoft)
	}
	return nil
}

// holder names the gracewatch that has locked the state file, if that is known.
func (l *loop) holder() string {
	left, _ := l.store.load(l.world.Now())
	id, err := proc.ParseID(left.Watcher)
	if err != nil || !l.isAlive(id) {
		return ""
	}
	return fmt.Sprintf(" (%v)", id)
}

// resetForNewLimits ends waits for a limit that was too low, and cancels the timers
// of a legacy limit that has changed, which nothing else cancels.
func (s *store) resetForNewLimits(legacyChanged bool) {
	for i := range s.left {
		d := &s.left[i]
		if len(d.TooLow) > 0 {
			d.TooLow, d.Why, d.State.NotBefore = nil, "", 0
		}
		if legacyChanged && !d.State.Restarting && !d.State.Committed {
			d.State = grace.State{}
		}
	}
}

// resumeInstance restores what the last gracewatch noted of a process, and continues a
// restart that was under way.
func (l *loop) resumeInstance(d *instance) {
	left := l.store.left
	i := slices.IndexFunc(left, func(n InstanceSnapshot) bool { return n.ID == d.ID })
	if i < 0 {
		return
	}
	d.restore(left[i])
	d.State.NotBefore = min(d.State.NotBefore, grace.Later(l.world.Now(), l.cfg.Retry)) // the retry time may be shorter now
	l.store.left = slices.Delete(left, i, i+1)
	if !d.State.Restarting {
		return
	}
	if l.restart == nil && !l.cfg.DryRun {
		if prog := l.world.Resume(d.id, d.Prog); prog != nil {
			l.restart = &restart{instance: d, run: newProgRun(prog, l.cfg, l.world.Now()), size: d.KB, count: 1}
			return
		}
	}
	d.State = d.State.Resumed()
}

// restore is the instance that a snapshot is of.
func (d *instance) restore(n InstanceSnapshot) {
	d.InstanceSnapshot, d.failed = n, n.Phase == PhaseFailed
	if n.Boot != nil {
		d.notes = *n.Boot
	}
}

// reportExited reports what became of processes that the file is of, and that
// have exited: a restart came to its end while no gracewatch was there, or
// nothing of the file is of use.
func (l *loop) reportExited() {
	reported := false
	var running []InstanceSnapshot
	for _, n := range l.store.left {
		id, err := proc.ParseID(n.ID)
		if err != nil {
			continue
		}
		switch isAlive := l.isAlive(id); {
		case isAlive && l.cfg.hasSeveral(): // a child that could not be held now: it is found later
			running = append(running, n)
		case !isAlive && n.State.Restarting:
			at := l.world.Now()
			d := newInstance(id, nil, 0)
			d.restore(n)
			d.setLimits(l.cfg)
			l.recordRestart(d, n.KB, Done, at)
			l.logDone(d)
			l.kept.Backoff = d.known().Restarted(d.limits, l.kept.Backoff, d.KB, at)
		case !reported && n.State != (grace.State{}):
			reported = true
			l.cfg.Messages.Warn("%s: not resumed: it is of another process, %s", l.store.path, n.ID)
		}
	}
	l.store.left = running
}

// isAlive tells whether a process has not ended, as far as can be known.
func (l *loop) isAlive(id proc.ID) bool {
	p, err := l.world.Open(id)
	if err == nil {
		p.Close()
	}
	return !errors.Is(err, proc.ErrGone)
}

// save writes the snapshot if it has changed. That it cannot is logged once: the
// watch goes on without.
func (l *loop) save() {
	if l.store == nil || l.store.path == "" || l.cfg.DryRun || !l.dirty {
		return
	}
	text, err := json.MarshalIndent(l.snapshot(), "", "  ")
	if err == nil {
		err = l.store.write(append(text, '\n'))
	}
	l.dirty = err != nil // with the next event
	if l.store.fault.begins(err) {
		l.cfg.Messages.Error("cannot keep the state: %v", err)
	}
}

// snapshot is what the state file has.
func (l *loop) snapshot() *Snapshot {
	s := l.kept
	s.Instances = slices.Clone(l.store.left)
	for _, d := range l.order {
		n := d.InstanceSnapshot
		n.Phase, n.SoftKB, n.HardKB, n.FootprintKB = d.phase(), d.limits.Soft, d.limits.Hard, d.Footprint.KB()
		n.Prog, n.Boot = "", nil
		if l.restart != nil && l.restart.instance == d && l.restart.run.ID() != (proc.ID{}) {
			n.Prog = l.restart.run.ID().String()
		}
		if !d.notes.isZero() {
			n.Boot = &d.notes
		}
		s.Instances = append(s.Instances, n)
	}
	return &s
}
