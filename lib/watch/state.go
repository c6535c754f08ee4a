package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// store is where the snapshot is kept.
type store struct {
	files     stateFiles
	directory *Directory // that the snapshot is of
	boot      string
	self      string
	control   string
	failed    string   // why it could not be written, as that was logged
	resume    Snapshot // what an earlier gracewatch left
}

// stateFiles are the state file and its lock.
type stateFiles interface {
	Name() string // for messages
	Lock() error  // ErrLocked: locked by another gracewatch; nil also if it is ours already
	Read() ([]byte, error)
	Write(text []byte) error
}

// ErrLocked is the error of a state file that another gracewatch has.
var ErrLocked = errors.New("locked by another gracewatch")

var errDamaged = errors.New("it is damaged")

// mostState is the length of the longest state file, in bytes; that of 500
// children is a fifth of it.
const mostState = 1 << 20

// load reads what the last gracewatch left. The error says why it is not
// believed.
func (s *store) load(now time.Duration) error {
	text, err := s.files.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var left Snapshot
	if err == nil && (json.Unmarshal(text, &left) != nil || !left.isValid()) {
		err = errDamaged
	}
	switch {
	case err != nil:
		return err
	case left.Boot != s.boot:
		return errors.New("it was written before this boot")
	case left.isAhead(now):
		return errors.New("its times are in the future (another time namespace?)")
	case left.Directory != nil && s.directory != nil && *left.Directory != *s.directory:
		return fmt.Errorf("it is of another service directory, %q", left.Target)
	}
	s.resume = left
	return nil
}

// isValid tells whether a snapshot can be one that was written.
func (s *Snapshot) isValid() bool {
	if s.Version != SnapshotVersion || s.Boot == "" || s.Target == "" {
		return false
	}
	return !slices.ContainsFunc(s.Instances, func(d InstanceSnapshot) bool {
		_, err := proc.ParseID(d.ID)
		return err != nil || d.KB < 0 || d.State.Since < 0 || d.State.HardSince < 0 || d.State.NotBefore < 0
	})
}

// isAhead tells whether something has happened later than now: what is counted
// from then would never come.
func (s *Snapshot) isAhead(now time.Duration) bool {
	return s.Backoff.Soft.Last > now || s.Backoff.Hard.Last > now || slices.ContainsFunc(s.Instances, func(d InstanceSnapshot) bool {
		return d.State.Since > now || d.State.HardSince > now
	})
}

// openStore opens the state file. The error ends the watch.
func (l *loop) openStore() error {
	l.opened = true
	store, err := l.world.Store()
	if err != nil {
		return err
	}
	if store != nil {
		if err := l.resumeState(store); err != nil {
			return err
		}
	}
	l.history = l.world.History()
	return nil
}

// resumeState locks the state file, and resumes what the last gracewatch left in it.
func (l *loop) resumeState(store *store) error {
	l.store, l.dirty = store, true
	if !l.cfg.DryRun { // a dry run only reads it, and leaves it to the one that restarts
		switch err := store.files.Lock(); {
		case errors.Is(err, ErrLocked):
			return fmt.Errorf("%s: %w", store.files.Name(), err)
		case err != nil: // its disk may be full, for now
			store.failed = err.Error()
			l.cfg.Messages.Error("cannot keep the state: %v", err)
		}
	}
	if err := store.load(l.world.Now()); err != nil {
		l.cfg.Messages.Warn("%s: not resumed: %v", store.files.Name(), err)
	}
	l.resumeTarget(store.resume)
	return nil
}

// resumeTarget resumes what the snapshot has of the watch as a whole.
func (l *loop) resumeTarget(left Snapshot) {
	resume := &l.store.resume
	l.paused = left.Paused && l.store.control != ""
	if left.Paused && !l.paused {
		l.cfg.Messages.Warn("%s: it was paused and is resumed: without a control FIFO nobody could resume it", l.store.files.Name())
	}
	l.backoff, l.restarts = left.Backoff, left.Restarts
	l.counts = left.Counts
	if l.counts.Done == nil {
		l.counts.Done = map[grace.Reason]int64{}
	}
	sameSoft, sameHard := left.Soft == l.cfg.Soft.String(), left.Hard == l.cfg.Hard.String()
	if !sameSoft {
		l.backoff.Soft = grace.Streak{}
	}
	if !sameHard {
		l.backoff.Hard = grace.Streak{}
	}
	if !sameSoft || !sameHard {
		resume.resetForNewLimits(l.cfg.Legacy)
	}
}

// resetForNewLimits ends waits for a limit that was too low, and cancels the timers
// of a legacy limit, which nothing else cancels.
func (s *Snapshot) resetForNewLimits(legacy bool) {
	for i := range s.Instances {
		d := &s.Instances[i]
		if len(d.TooLow) > 0 {
			d.TooLow, d.Why, d.State.NotBefore = nil, "", 0
		}
		if legacy && !d.State.Restarting && !d.State.Committed {
			d.State = grace.State{}
		}
	}
}

// resumeInstance restores what the last gracewatch noted of a process, and continues a
// restart that was under way.
func (l *loop) resumeInstance(d *instance) {
	if l.store == nil {
		return
	}
	left := &l.store.resume
	i := slices.IndexFunc(left.Instances, func(n InstanceSnapshot) bool { return n.ID == d.id.String() })
	if i < 0 {
		return
	}
	n := left.Instances[i]
	left.Instances = slices.Delete(left.Instances, i, i+1)
	d.restore(n)
	if !d.State.Restarting {
		return
	}
	if l.restart == nil && !l.cfg.DryRun {
		if prog := l.world.Resume(d.id, n.Prog); prog != nil {
			l.restart = &restart{instance: d, run: newProgRun(prog, l.cfg, l.world.Now()), size: d.kb, count: 1}
			l.phase = restarting
			return
		}
	}
	d.State = d.State.Resumed()
}

// restore is the instance that a snapshot is of.
func (d *instance) restore(n InstanceSnapshot) {
	d.State, d.kb, d.peak, d.Footprint = n.State, n.KB, n.PeakKB, n.Footprint
	d.why, d.failed, d.restartBegan, d.tooLow = n.Why, n.Phase == PhaseFailed, n.RestartBegan, n.TooLow
	if n.Boot != nil {
		d.notes = *n.Boot
	}
}

// reportExited reports what became of processes that the file is of, and that
// have exited: a restart came to its end while no gracewatch was there, or
// nothing of the file is of use.
func (l *loop) reportExited() {
	if l.store == nil {
		return
	}
	reported := false
	var running []InstanceSnapshot
	for _, n := range l.store.resume.Instances {
		id, err := proc.ParseID(n.ID)
		switch {
		case err != nil:
		case l.cfg.hasSeveral() && l.isAlive(id): // a child that could not be held now: it is found later
			running = append(running, n)
		case n.State.Restarting:
			d := newInstance(id, nil, 0)
			d.restore(n)
			d.limits = l.cfg.limits(id, 0)
			l.event(RestartDone, d, slog.String("reason", string(n.State.Reason)))
			at := l.world.Now()
			l.recordRestart(&restart{instance: d, size: n.KB}, Done, at)
			l.backoff = d.Restarted(d.limits, l.backoff, d.kb, at)
		case !reported && n.State != (grace.State{}):
			reported = true
			l.cfg.Messages.Warn("%s: not resumed: it is of another process, %s", l.store.files.Name(), n.ID)
		}
	}
	l.store.resume = Snapshot{Instances: running}
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
	if l.store == nil || l.cfg.DryRun || !l.dirty {
		return
	}
	l.dirty = false
	text, err := json.MarshalIndent(l.snapshot(), "", "  ")
	if err == nil {
		err = l.store.files.Write(append(text, '\n'))
	}
	why := ""
	if err != nil {
		why = err.Error()
		l.dirty = true // with the next event
	}
	if why != "" && l.store.failed == "" {
		l.cfg.Messages.Error("cannot keep the state: %v", err)
	}
	l.store.failed = why
}

// snapshot is what the state file has.
func (l *loop) snapshot() *Snapshot {
	c := l.cfg
	s := &Snapshot{Version: SnapshotVersion, Boot: l.store.boot, Target: c.Target.Text, Directory: l.store.directory, Watcher: l.store.self,
		Scope: c.scopeName(), Match: c.Match, Measure: c.MeasureName, Soft: c.Soft.String(), Hard: c.Hard.String(),
		Grace: c.Grace, Interval: c.Interval, Retry: c.Retry, Legacy: c.Legacy, Control: l.store.control,
		Paused: l.paused, Backoff: l.backoff, Restarts: l.restarts, Counts: l.counts,
		Instances: slices.Clone(l.store.resume.Instances)}
	for _, d := range l.order {
		n := InstanceSnapshot{ID: d.id.String(), Phase: d.phase(), Why: d.why, State: d.State, KB: d.kb, PeakKB: d.peak,
			SoftKB: d.limits.Soft, HardKB: d.limits.Hard, FootprintKB: d.Footprint.KB(), Footprint: d.Footprint,
			RestartBegan: d.restartBegan, TooLow: d.tooLow}
		if l.restart != nil && l.restart.instance == d && l.restart.run.ID() != (proc.ID{}) {
			n.Prog = l.restart.run.ID().String()
		}
		if !d.notes.isZero() {
			n.Boot = &d.notes
		}
		s.Instances = append(s.Instances, n)
	}
	return s
}
