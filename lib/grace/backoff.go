package grace

import "time"

// Backoff delays restarts that cannot help, because the limit is below what the
// process needs at its start. It is of one target, from one process to the next.
type Backoff struct {
	Soft Streak `json:"soft"`
	Hard Streak `json:"hard"`
}

// Streak is how many instances, one after the other, were restarted although
// they need more than the limit.
type Streak struct {
	Count  int           `json:"count,omitempty"`
	Last   time.Duration `json:"last,omitempty"`    // when the last of them was restarted
	Gap    time.Duration `json:"gap,omitempty"`     // between that and the restart before, or its own start
	Over   time.Duration `json:"over,omitempty"`    // when the last of them had gone over the limit
	NeedKB int64         `json:"need_kb,omitempty"` // what they need: the footprint, or else the size at which the limit was passed
}

const (
	longestSoft           = time.Hour
	shortestHard          = time.Minute
	longestHard           = 10 * time.Minute
	inARow                = 3    // this many restarts in a row are evidence where one is not
	headroom              = 1.25 // times the footprint: past that even a hard limit that is too low is acted on
	shareOfMemory float64 = 0.95 // of the memory there is, likewise
)

// due is a restart that is due.
type due struct {
	Instance
	reason  Reason
	limitKB int64         // that the reason is about
	over    time.Duration // when that limit was passed
	kb      int64         // its size
}

// due is a restart of the instance for that reason.
func (n Instance) due(reason Reason, l Limits, kb int64) due {
	over := n.State.Since
	if reason == Hard {
		over = n.State.HardSince
	}
	return due{n, reason, l.ForReason(reason), over, kb}
}

// evidence is what is known of whether a limit is below the footprint.
type evidence uint8

const (
	noEvidence    evidence = iota // the process was under the limit after its boot, or was over it late, or nothing is known
	earlyEvidence                 // its footprint is not known, and it was over the limit within a minute of its start: three times in a row mean something
	bootEvidence                  // its footprint is known, and above the limit
)

const early = time.Minute

func (x due) evidence() evidence {
	switch f := x.Footprint; {
	case f.BootKB > 0 && f.KB() > x.limitKB:
		return bootEvidence
	case f.BootKB > 0 && f.BootKB <= x.limitKB: // under it after its boot: it leaks, or has a greedy job
		return noEvidence
	case x.over-x.Started <= early:
		return earlyEvidence
	}
	return noEvidence
}

// Verdict is that a limit is below the footprint; the zero Verdict is that it is
// not, as far as is known.
type Verdict struct {
	TooLow    bool
	NotBefore time.Duration // no restart earlier than that; 0: now
	NeedKB    int64         // what the process needs, as far as it is known
}

// decide tells whether the limit is too low for a restart to help. Restarts for
// other reasons than a limit always do.
func (b Backoff) decide(x due, sample Sample) Verdict {
	evidence := x.evidence()
	s, hard := b.streakOf(x.reason), x.reason == Hard
	if s == nil || evidence == noEvidence {
		return Verdict{}
	}
	follows := s.follows(x.Started)
	firstShows := !hard && evidence == bootEvidence
	if !firstShows && (!follows || s.Count < inARow-1) {
		return Verdict{}
	}
	v := Verdict{TooLow: true, NeedKB: x.need()}
	if x.Footprint.KB() == 0 && s.Count > 0 {
		v.NeedKB = s.NeedKB
	}
	if !follows || s.Count == 0 {
		return v
	}
	if !hard {
		v.NotBefore = s.Last + min(2*s.Gap, longestSoft)
		return v
	}
	most := headroom * float64(v.NeedKB)
	if memory := float64(sample.MemoryKB); memory > 0 {
		if sample.Booting {
			most = memory
		}
		most = min(most, shareOfMemory*memory)
	}
	if float64(x.kb) <= most {
		v.NotBefore = s.Last + min(shortestHard<<min(s.Count-inARow+1, 8), longestHard)
	}
	return v
}

// restarted counts an instance that was restarted at at.
func (b Backoff) restarted(x due, at time.Duration) Backoff {
	s := b.streakOf(x.reason)
	if s == nil || !s.follows(x.Started) {
		return b
	}
	if x.evidence() == noEvidence {
		*s = Streak{}
		return b
	}
	before := *s
	since, need := before.Last, x.need()
	if before.Count == 0 {
		since = x.Started
	} else if x.Footprint.KB() == 0 { // of several guesses the smallest: the others may have leaked
		need = min(need, before.NeedKB)
	}
	*s = Streak{Count: before.Count + 1, Last: at, Gap: at - since, Over: x.over, NeedKB: need}
	return b
}

// endStreaks ends the streaks when an instance that was started at started, and is at
// or under both limits now, has shown that it fits: it has booted, or it is old
// enough.
func (b Backoff) endStreaks(f Footprint, started, at time.Duration) Backoff {
	if f.BootKB == 0 && at-started <= early {
		return b
	}
	if b.Soft.follows(started) {
		b.Soft = Streak{}
	}
	if b.Hard.follows(started) {
		b.Hard = Streak{}
	}
	return b
}

// streakOf is where restarts for the reason are counted; nil: nowhere. It points
// into the receiver's copy of the caller.
func (b *Backoff) streakOf(reason Reason) *Streak {
	switch reason {
	case Soft, Legacy:
		return &b.Soft
	case Hard:
		return &b.Hard
	}
	return nil
}

// follows tells whether a process that was started at started came after the
// last one that was counted. Another child of the same parent did not: that all
// the workers of a cluster are over the limit once is no loop.
func (s *Streak) follows(started time.Duration) bool {
	return s != nil && (s.Count == 0 || started > s.Over)
}

// need is what the instance needs: what it had when its title appeared, or, if it
// has shown none, what it has.
func (x due) need() int64 {
	if kb := x.Footprint.BootKB; kb > 0 {
		return kb
	}
	return x.kb
}

// FittingLimit is a limit that would fit a process that needs that much, in KB.
func FittingLimit(needKB int64) int64 { return needKB + needKB/2 }
