package grace

import "time"

// Footprint is what a Sidekiq needs before it has worked: its size when its
// title first appears, confirmed by two further checks without growth. A larger
// size later is a leak or a job, which a restart helps against. The zero
// Footprint is that of a process that has shown no title (yet).
type Footprint struct {
	BootKB    int64         `json:"boot_kb,omitempty"`   // when the title first appeared; 0: it has not
	BootAt    time.Duration `json:"boot_at,omitempty"`   // when that was
	Confirmed int           `json:"confirmed,omitempty"` // checks since then without growth
	Grew      bool          `json:"grew,omitempty"`      // it grew before it was confirmed, which shows nothing
}

const confirmations = 2

// Title is what a process shows of the title of a Sidekiq that has booted.
type Title uint8

const (
	NoTitle  Title = iota // none, or it was not read
	NewTitle              // it has one
	OldTitle              // it had one, and was not new, when it was first seen: its size after its boot is not known
)

// addSample adds a size, if the process shows a title.
func (f Footprint) addSample(x Sample) Footprint {
	switch {
	case x.Title == NoTitle:
	case f.BootKB == 0:
		f.BootKB, f.BootAt, f.Grew = x.KB, x.At, x.Title == OldTitle
	case f.IsFinal():
	case x.KB > f.BootKB+f.BootKB/100:
		f.Grew = true
	default:
		f.Confirmed++
	}
	return f
}

// IsFinal tells whether further sizes change nothing.
func (f Footprint) IsFinal() bool { return f.Grew || f.Confirmed >= confirmations }

// KB is the footprint; 0 if it is not known.
func (f Footprint) KB() int64 {
	if f.Confirmed < confirmations {
		return 0
	}
	return f.BootKB
}

// GrowthPerMinute is how fast the process has grown since its boot, in KB a
// minute; ok if there is something to measure.
func (f Footprint) GrowthPerMinute(kb int64, at time.Duration) (growth int64, ok bool) {
	took := at - f.BootAt
	if f.BootKB == 0 || took < time.Second {
		return 0, false
	}
	return int64(float64(kb-f.BootKB) / took.Minutes()), true
}
