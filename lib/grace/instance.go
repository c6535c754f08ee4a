package grace

import "time"

// Instance is one process, as far as decisions depend on it.
type Instance struct {
	Started   time.Duration
	State     State
	Footprint Footprint
}

// Decision is what a sample of an instance leads to.
type Decision struct {
	Change          // Restart: it is due
	Begin      bool // it begins now
	SoftTooLow Verdict
	HardTooLow Verdict
}

// Check takes a sample of an instance and decides. A restart that cannot help is
// delayed, unless the process may be quiet already.
func (n Instance) Check(l Limits, b Backoff, x Sample) (Instance, Backoff, Decision) {
	var d Decision
	wasKnown := n.Footprint.KB() > 0
	n.Footprint = n.Footprint.addSample(x)
	n.State, d.Change = n.State.Step(l, x)
	if !n.State.Over && !n.State.OverHard {
		b = b.endStreaks(n.Footprint, n.Started, x.At)
	}
	if !wasKnown && n.Footprint.KB() > l.Soft && l.Soft > 0 { // this is logged now, not only when the restart is due
		d.SoftTooLow = b.decide(n.due(Soft, l, x.KB), x)
	}
	if d.Begin = d.Restart != ""; !d.Begin || n.State.Committed {
		return n, b, d
	}
	v := b.decide(n.due(d.Restart, l, x.KB), x)
	until := v.NotBefore
	if d.Restart == Hard {
		d.HardTooLow = v
		until = min(until, later(x.At, l.Recheck))
	} else if v.TooLow {
		d.SoftTooLow = v
	}
	if x.At < v.NotBefore {
		n.State, d.Begin = n.State.DelayedUntil(until), false
	}
	return n, b, d
}

// Restarted is the back-off after a restart of the instance, which had that size.
func (n Instance) Restarted(l Limits, b Backoff, kb int64, at time.Duration) Backoff {
	return b.restarted(n.due(n.State.Reason, l, kb), at)
}
