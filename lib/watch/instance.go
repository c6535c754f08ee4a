package watch

import (
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// instance is one process that is watched, with a timer of its own.
type instance struct {
	InstanceSnapshot // what is kept of it; phase, limits and prog are added when it is written
	id               proc.ID
	process          process
	notes            BootNotes
	failed           bool // the last restart did

	limits   grace.Limits
	memory   int64         // the memory available to it, KB; 0: it was not asked for
	limitsAt time.Duration // when the limits were worked out

	titleReadAt      time.Duration // 0: never
	booting          bool          // it was a Sidekiq without a title then
	unreadableSince  time.Duration // 0: its last check had a result
	unreadableLogged bool
	idleSince        time.Duration // quieted by somebody else, and idle since then; 0: not
	listing          int           // the last one that had it; 0: none, it is the target itself
}

func newInstance(id proc.ID, p process, at time.Duration) *instance {
	return &instance{InstanceSnapshot: InstanceSnapshot{ID: id.String()}, id: id, process: p, limitsAt: at}
}

// check reads the process, and decides what follows, with the back-off of its
// target. It tells whether something changed that is kept.
func (d *instance) check(cfg *Config, backoff *grace.Backoff, x grace.Sample) (c grace.Decision, changed bool, err error) {
	needsMemory := cfg.hasShares() || d.State.OverHard
	if needsMemory && x.At-d.limitsAt+cfg.Interval > shareEvery { // the next check would be too late
		changed = d.refreshLimits(cfg, x.At)
	}
	noted := d.notes
	if err := d.addReading(&x); err != nil {
		return c, changed, err
	}
	d.unreadableSince, d.unreadableLogged = 0, false
	next, after, c := d.known().Check(d.limits, *backoff, x)
	changed = changed || !noted.equal(d.notes) || next.Footprint != d.Footprint || after != *backoff || c.SoftTooLow.TooLow
	d.State, d.Footprint, *backoff = next.State, next.Footprint, after
	return c, changed, nil
}

// known is what decisions depend on.
func (d *instance) known() grace.Instance {
	return grace.Instance{Started: d.id.StartTime(), State: d.State, Footprint: d.Footprint}
}

// addReading completes a sample: how large the process is, what it shows of itself
// while it boots, and, over the hard limit, how much memory there is for it.
func (d *instance) addReading(x *grace.Sample) error {
	age, first := x.At-d.id.StartTime(), d.titleReadAt == 0
	var notes *BootNotes
	if d.isTitleDue(x.At, age) {
		notes = &d.notes
	}
	r, err := d.read(notes)
	if err != nil {
		return err
	}
	if notes != nil {
		d.titleReadAt, d.booting = x.At, r.booting
	}
	switch {
	case r.titled && first && age > shortBoot:
		x.Title = grace.OldTitle
	case r.titled:
		x.Title = grace.NewTitle
	}
	if d.memory == 0 && d.limits.Hard > 0 && d.KB > d.limits.Hard {
		d.memory, _ = d.process.Available()
	}
	x.KB, x.Booting, x.MemoryKB = d.KB, d.booting, d.memory
	return nil
}

// read reads the size, and, unless notes is nil, the title.
func (d *instance) read(notes *BootNotes) (reading, error) {
	r, err := d.process.Read(notes)
	if err == nil {
		d.KB, d.PeakKB = r.kb, max(d.PeakKB, r.kb)
	}
	return r, err
}

const (
	titleEvery = time.Second      // between two readings of the title, at least
	titleParts = 30               // and so much of its age: a boot that took long is not timed to the second
	shortBoot  = 15 * time.Second // a title that a process has had for no longer than that is new
	longBoot   = 10 * time.Minute // a process that has shown no title by then has none
)

// isTitleDue tells whether the process is followed through its boot, and its title
// is to be read again.
func (d *instance) isTitleDue(at, age time.Duration) bool {
	if d.Footprint.IsFinal() || age > longBoot && d.Footprint.BootKB == 0 {
		return false
	}
	return d.titleReadAt == 0 || at-d.titleReadAt >= max(titleEvery, age/titleParts)
}

// shareEvery is how old the memory there is may get, and limits that are a share of
// it: that of a container can be changed while it runs.
const shareEvery = 5 * time.Second

// refreshLimits works out the limits with the memory there is now. Where that is
// not known, the last ones stay.
func (d *instance) refreshLimits(cfg *Config, at time.Duration) (changed bool) {
	d.limitsAt = at
	available, err := d.process.Available()
	if err != nil || available == d.memory {
		return false
	}
	d.memory = available
	d.setLimits(cfg)
	return true
}

// setLimits works out the limits with the memory that is known.
func (d *instance) setLimits(cfg *Config) {
	d.limits = cfg.limits(d.id, d.memory)
	if d.RestartedAt > 0 && cfg.MaxAge > 0 {
		d.limits.MaxAgeAt = grace.Later(d.RestartedAt, cfg.MaxAge)
	}
}

// phase is what the snapshot calls its state.
func (d *instance) phase() Phase {
	switch {
	case d.State.Restarting:
		return PhaseRestarting
	case len(d.TooLow) > 0:
		return PhaseTooLow
	case d.failed:
		return PhaseFailed
	case d.Why != "":
		return PhasePostponed
	case d.State.Over || d.State.OverHard:
		return PhaseOver
	}
	return PhaseOK
}
