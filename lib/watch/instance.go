package watch

import (
	"errors"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// instance is one process that is watched, with a timer of its own.
type instance struct {
	grace.Instance
	id      proc.ID
	process process

	limits   grace.Limits
	memory   int64         // the memory available to it, KB; 0: it was not asked for
	limitsAt time.Duration // when the limits were worked out

	kb, peak    int64         // at the last check, and the most that was seen
	titleReadAt time.Duration // 0: never
	booting     bool          // it was a Sidekiq without a title then
	notes       BootNotes

	unreadable   unreadable
	tooLow       []grace.Reason // the limits of which limit-too-low was logged
	why          string         // why the restart was postponed, failed or delayed, as it was logged
	failed       bool           // the last restart failed
	restartBegan time.Duration  // when the last restart began; 0: none has
	idleSince    time.Duration  // quieted by somebody else, and idle since then; 0: not
	standIn      bool           // the target itself, as long as there is nobody else to watch
	round        int            // of the last listing that had it
}

func newInstance(id proc.ID, p process, at time.Duration) *instance {
	return &instance{Instance: grace.Instance{Started: id.StartTime()}, id: id, process: p, limitsAt: at}
}

// unreadable is a run of checks without a result.
type unreadable struct {
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

// read completes a sample: how large the process is, what it shows of itself
// while it boots, and, where that matters, how much memory there is for it. It
// tells whether something was noted.
func (d *instance) read(x grace.Sample, most int64) (sample grace.Sample, noted bool, err error) {
	if err := d.measure(most); err != nil {
		return x, false, err
	}
	if d.memory == 0 && d.limits.Hard > 0 && d.kb > d.limits.Hard {
		d.memory, _ = d.process.Available()
	}
	notes := d.notes
	x.Title = d.readTitle(x.At)
	x.KB, x.Booting, x.MemoryKB = d.kb, d.booting, d.memory
	return x, !notes.equal(d.notes), nil
}

const (
	titleEvery = time.Second      // between two readings of the title, at least
	titleParts = 30               // and so much of its age: a boot that took long is not timed to the second
	shortBoot  = 15 * time.Second // a title that a process has had for no longer than that is new
	longBoot   = 10 * time.Minute // a process that has shown no title by then has none
)

// readTitle follows the process through its boot, and notes what its argv and
// environment show before its title overwrites them.
func (d *instance) readTitle(at time.Duration) grace.Title {
	age, first := at-d.Started, d.titleReadAt == 0
	switch {
	case d.Footprint.IsFinal(), age > longBoot && d.Footprint.BootKB == 0:
		return grace.NoTitle
	case !first && at-d.titleReadAt < max(titleEvery, age/titleParts):
		return grace.NoTitle
	}
	d.titleReadAt = at
	seen := d.process.ReadTitle(&d.notes)
	d.booting = seen.booting
	switch {
	case !seen.titled:
		return grace.NoTitle
	case first && age > shortBoot:
		return grace.OldTitle
	}
	return grace.NewTitle
}

// phase is what the snapshot calls its state.
func (d *instance) phase() Phase {
	switch {
	case d.State.Restarting:
		return PhaseRestarting
	case len(d.tooLow) > 0:
		return PhaseTooLow
	case d.failed:
		return PhaseFailed
	case d.why != "":
		return PhasePostponed
	case d.State.Over || d.State.OverHard:
		return PhaseOver
	}
	return PhaseOK
}
