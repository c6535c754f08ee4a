package watch

import (
	"errors"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// instance is one process that is watched, with a timer of its own.
type instance struct {
	id      proc.ID
	process process

	limits   grace.Limits
	memory   int64         // the memory available to it, KB; 0: it was not asked for
	limitsAt time.Duration // when the limits were worked out

	state     grace.State
	kb, peak  int64 // at the last check, and the most that was seen
	footprint grace.Footprint
	booting   bool
	lookedAt  time.Duration // for a title
	notes     BootNotes

	misread   misread
	tooLow    map[grace.Reason]bool // limit-too-low was logged, for a limit
	why       string                // why the restart was postponed, failed or delayed, as it was logged
	failed    bool                  // the last restart failed
	began     time.Duration         // when the last restart began; 0: none has
	idleSince time.Duration         // quieted by somebody else, and idle since then; 0: not
	standIn   bool                  // the target itself, as long as there is nobody else to watch
	round     int                   // of the last listing that had it
}

// misread is a run of checks without a result.
type misread struct {
	since  time.Duration // 0: the last one had one
	logged bool
}

// Sizes that cannot be true.
var (
	errNothing = errors.New("0 KB is not the size of a process that runs")
	errTooMuch = errors.New("larger than all the memory of the machine")
)

// measure reads the size.
func (d *instance) measure(most int64) error {
	kb, err := d.process.Size()
	switch {
	case err != nil:
		return err
	case kb == 0:
		return errNothing
	case kb > most:
		return errTooMuch
	}
	d.kb, d.peak = kb, max(d.peak, kb)
	return nil
}

const (
	lookEvery = time.Second      // between two looks for a title, at least
	lookParts = 30               // and so much of its age: a boot that took long is not timed to the second
	longBoot  = 10 * time.Minute // a process that has shown no title by then has none
)

// lookAtBoot follows the process through its boot: what its argv and environment
// show before its title overwrites them, and how large it is when the title
// appears. It tells whether something was learned that must be kept.
func (d *instance) lookAtBoot(at time.Duration) bool {
	age := at - d.id.StartTime()
	if d.footprint.IsFinal() || age > longBoot && d.footprint.BootKB == 0 {
		return false
	}
	if d.lookedAt > 0 && at-d.lookedAt < max(lookEvery, age/lookParts) {
		return false
	}
	before, wasTitled := d.notes, d.footprint
	first := d.lookedAt == 0
	d.lookedAt = at
	seen := d.process.ReadTitle(&d.notes)
	d.booting = seen.booting
	switch {
	case seen.titled && first && d.footprint.BootKB == 0 && at-d.id.StartTime() > shortBoot:
		d.footprint = grace.Footprint{BootKB: d.kb, BootAt: at, Grew: true} // it had booted before it was watched: its size then is not known
	case seen.titled:
		d.footprint = d.footprint.AddSample(d.kb, at)
	}
	return d.footprint != wasTitled || !before.equal(d.notes)
}

// shortBoot is how long a process may have run when it is seen for the first
// time, and its title be taken for new.
const shortBoot = 15 * time.Second

// phase is what the snapshot calls its state.
func (d *instance) phase() Phase {
	switch {
	case d.state.Restarting:
		return PhaseRestarting
	case len(d.tooLow) > 0:
		return PhaseTooLow
	case d.failed:
		return PhaseFailed
	case d.why != "":
		return PhasePostponed
	case d.state.Over || d.state.OverHard:
		return PhaseOver
	}
	return PhaseOK
}
