package grace

import (
	"testing"
	"time"
)

const m = time.Minute

// titled is the footprint of a Sidekiq that had these sizes from its title on.
func titled(sizes ...int64) (f Footprint) {
	for i, kb := range sizes {
		f = f.addSample(Sample{KB: kb, At: time.Duration(i) * 3 * s, Title: NewTitle})
	}
	return f
}

func TestAFootprintIsTheSizeAtTheTitleConfirmedTwice(t *testing.T) {
	for name, c := range map[string]struct {
		sizes   []int64
		want    int64
		settled bool
	}{
		"no title":             {nil, 0, false},
		"not confirmed":        {[]int64{1000, 1000}, 0, false},
		"confirmed":            {[]int64{1000, 1000, 1000}, 1000, true},
		"it grows by a little": {[]int64{1000, 1010, 1010}, 1000, true},
		"it shrinks":           {[]int64{1000, 900, 900, 5000}, 1000, true},
		"it grows":             {[]int64{1000, 1011, 1011, 1011}, 0, true},
	} {
		f := titled(c.sizes...)
		if f.KB() != c.want || f.IsFinal() != c.settled {
			t.Errorf("%s: %d, settled %v", name, f.KB(), f.IsFinal())
		}
	}
	if growth, ok := titled(1000, 1000, 1000).GrowthPerMinute(4000, m); !ok || growth != 3000 {
		t.Errorf("growth %d, %v", growth, ok)
	}
	if _, ok := (Footprint{}).GrowthPerMinute(4000, m); ok {
		t.Error("growth of a process without a title")
	}
}

// life is an instance of a service: what it is when it is due.
type life struct {
	reason    Reason
	limit, kb int64
	footprint Footprint
	over      time.Duration // from its start until it is over the limit
	booting   bool
}

func TestHowLongRestartsAreDelayed(t *testing.T) {
	booted, grew := titled(1000, 1000, 1000), titled(1000, 1200)
	untitled, booting := life{Hard, 900, 1000, Footprint{}, 0, false}, life{Hard, 900, 1000, Footprint{}, 0, true}
	never := make([]time.Duration, 6)
	for name, c := range map[string]struct {
		first, last life // the last of the instances, if it differs from those before
		delays      []time.Duration
		tooLow      int // the first instance of which this is known; -1: of none
	}{
		// the first lives 9 s; each further restart is twice as long after the last as that was, up to an hour
		"soft, below the footprint": {life{Soft, 900, 1000, booted, 9 * s, false}, life{},
			[]time.Duration{0, 8 * s, 26 * s, 62 * s, 134 * s, 278 * s, 566 * s, 1142 * s, 2294 * s, time.Hour - 10*s, time.Hour - 10*s}, 0},
		"soft, above the footprint: a leak": {life{Soft, 1100, 1200, booted, 9 * s, false}, life{}, never, -1},
		"soft, a footprint that was not confirmed": {life{Soft, 900, 1200, grew, 9 * s, false}, life{},
			[]time.Duration{0, 0, 10 * s, 30 * s}, 2},
		"soft, likewise, but under the limit at first: a leak": {life{Soft, 1100, 1200, grew, 9 * s, false}, life{}, never, -1},
		"soft, another process, within a minute of its start": {life{Soft, 900, 1000, Footprint{}, 9 * s, false}, life{},
			[]time.Duration{0, 0, 10 * s, 30 * s, 70 * s}, 2},
		"soft, another process, later: a leak": {life{Soft, 900, 1000, Footprint{}, 61 * s, false}, life{}, never, -1},
		"legacy is soft": {life{Legacy, 900, 1000, booted, 9 * s, false}, life{},
			[]time.Duration{0, 8 * s, 26 * s}, 0},

		"hard, below the footprint": {life{Hard, 900, 1000, booted, 0, false}, life{},
			[]time.Duration{0, 0, m - s, 2*m - s, 4*m - s, 8*m - s, 10*m - s, 10*m - s}, 2},
		"hard, below the footprint, past 1.25 times that": {life{Hard, 900, 1000, booted, 0, false}, life{Hard, 900, 1251, booted, 0, false},
			[]time.Duration{0, 0, m - s, 0}, 2},
		"hard, above the footprint: a leak": {life{Hard, 1100, 1101, booted, 2 * s, false}, life{}, never, -1},
		"hard, another process, past 1.25 times the least it was seen over with": {untitled, life{Hard, 900, 1251, Footprint{}, 0, false},
			[]time.Duration{0, 0, m - s, 0}, 2},
		"hard, another process, over it after a minute to the second": {life{Hard, 900, 1000, Footprint{}, m, false}, life{},
			make([]time.Duration, 3), 2},
		"hard, a Sidekiq that boots is let boot": {booting, life{Hard, 900, 5000, Footprint{}, 0, true},
			[]time.Duration{0, 0, m - s, 2*m - s}, 2},
		"hard, but not past 95 % of the memory there is": {booting, life{Hard, 900, 95001, Footprint{}, 0, true},
			[]time.Duration{0, 0, m - s, 0}, 2},

		"for its age": {life{reason: Age, kb: 1000}, life{}, never, -1},
		"requested":   {life{reason: Control, kb: 1000}, life{}, never, -1},
	} {
		var b Backoff
		now := 1000 * s
		for i, want := range c.delays {
			l := c.first
			if i == len(c.delays)-1 && c.last != (life{}) {
				l = c.last
			}
			started := now + s // after the restart of the one before
			x := due{Instance{Started: started, Footprint: l.footprint}, l.reason, l.limit, started + l.over, l.kb}
			v := b.decide(x, Sample{Booting: l.booting, MemoryKB: 100000})
			now = max(x.over, v.NotBefore)
			if tooLow := c.tooLow >= 0 && i >= c.tooLow; now-x.over != want || v.TooLow != tooLow {
				t.Errorf("%s: instance %d: delayed for %v, too low %v; want %v, %v", name, i, now-x.over, v.TooLow, want, tooLow)
			}
			b = b.restarted(x, now)
		}
	}
}

func TestAnotherChildOfTheSameParentIsNeitherCountedNorDelayed(t *testing.T) {
	child := due{Instance{Started: 1000 * s}, Hard, 900, 1010 * s, 1000}
	var b Backoff
	for range 5 { // all started at once
		if v := b.decide(child, Sample{}); v != (Verdict{}) {
			t.Errorf("%+v", v)
		}
		b = b.restarted(child, 1020*s)
	}
	if b.Hard.Count != 1 {
		t.Errorf("%d are counted", b.Hard.Count)
	}
}

func TestOfSeveralGuessesAtTheFootprintTheSmallestCounts(t *testing.T) {
	var b Backoff
	now := 1000 * s
	for _, kb := range []int64{2000, 1000, 3000} {
		b = b.restarted(due{Instance{Started: now}, Hard, 900, now, kb}, now)
		now += s
	}
	for kb, delayed := range map[int64]bool{1250: true, 1251: false} {
		v := b.decide(due{Instance{Started: now}, Hard, 900, now, kb}, Sample{})
		if !v.TooLow || v.NeedKB != 1000 || (v.NotBefore > now) != delayed {
			t.Errorf("%d KB: %+v", kb, v)
		}
	}
}

func TestAnInstanceThatFitsEndsTheStreaks(t *testing.T) {
	b := Backoff{Soft: Streak{Count: 3, Over: 100 * s}, Hard: Streak{Count: 2, Over: 100 * s}}
	for name, c := range map[string]struct {
		footprint   Footprint
		started, at time.Duration
		ends        bool
	}{
		"young":                     {Footprint{}, 101 * s, 150 * s, false},
		"a minute old":              {Footprint{}, 101 * s, 162 * s, true},
		"a Sidekiq that has booted": {titled(500), 101 * s, 110 * s, true},
		"from before":               {titled(500), 99 * s, 1000 * s, false},
	} {
		if after := b.endStreaks(c.footprint, c.started, c.at); (after == Backoff{}) != c.ends {
			t.Errorf("%s: %+v", name, after)
		}
	}
	late := due{Instance{Started: 101 * s}, Soft, 900, 162 * s, 1000} // over the limit
	if after := b.restarted(late, 170*s); after.Soft != (Streak{}) || after.Hard != b.Hard {
		t.Errorf("over the limit late: %+v", after)
	}
}

func TestTheNextOfSeveralWaitsForTheReplacementOfTheLast(t *testing.T) {
	wait := WaitForReplacement(3, Limits{Retry: m}, 10*s)
	if !wait.Update(2, 11*s).Active() {
		t.Error("it does not wait, and one is missing")
	}
	if wait.Update(3, 11*s).Active() || wait.Update(2, 70*s).Active() || (ReplacementWait{}).Active() {
		t.Error("it waits, though there are as many as before, or the retry time has passed")
	}
}

func TestARestartThatCannotHelpIsDelayed(t *testing.T) {
	l := Limits{Soft: 900, Hard: 2000, Recheck: 3 * s}
	booted := titled(1000, 1000, 1000)
	over := Instance{Started: 1000 * s, State: State{Over: true, Since: 1000 * s}, Footprint: booted}
	overHard := Instance{Started: 1000 * s, State: State{OverHard: true, HardSince: 1000 * s}, Footprint: titled(3000, 3000, 3000)}
	failed := over
	failed.State.Committed, failed.State.Reason = true, Soft
	b := Backoff{Soft: Streak{Count: 1, Last: 990 * s, Gap: 20 * s, Over: 980 * s}, Hard: Streak{Count: 3, Last: 990 * s, Over: 980 * s}}
	for name, c := range map[string]struct {
		instance Instance
		backoff  Backoff
		sample   Sample
		begin    bool
		tooLow   Reason
		until    time.Duration // it is delayed; 0: not
	}{
		"the first instance: begun, and the limit is too low": {over, Backoff{}, Sample{KB: 1000}, true, Soft, 0},
		"the next: delayed":                      {over, b, Sample{KB: 1000}, false, Soft, 1030 * s},
		"one that has failed may be quiet: not":  {failed, b, Sample{KB: 1000}, true, "", 0},
		"over hard: decided again after a while": {overHard, b, Sample{KB: 3000}, false, Hard, 1004 * s},
		"a footprint is known before the restart is due": {Instance{Started: 990 * s, Footprint: titled(1000, 1000)}, Backoff{},
			Sample{KB: 1000, Title: NewTitle, HardOnly: true}, false, Soft, 0},
	} {
		c.sample.At = 1001 * s
		n, _, d := c.instance.Check(l, c.backoff, c.sample)
		if d.Begin != c.begin || d.SoftTooLow.TooLow != (c.tooLow == Soft) || d.HardTooLow.TooLow != (c.tooLow == Hard) || n.State.NotBefore != c.until {
			t.Errorf("%s: %+v, not before %v", name, d, n.State.NotBefore)
		}
	}
}
