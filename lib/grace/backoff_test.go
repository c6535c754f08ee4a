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

// live runs instances one after the other, each started a second after the
// restart of the one before, and returns how long each was delayed.
func live(lives []life) (delays []time.Duration, tooLow []bool) {
	var b Backoff
	now := 1000 * s
	for _, l := range lives {
		started := now + s
		x := due{Instance{Started: started, Footprint: l.footprint}, l.reason, l.limit, started + l.over, l.kb}
		v := b.decide(x, Sample{Booting: l.booting, MemoryKB: 100000})
		now = max(x.over, v.NotBefore)
		delays, tooLow = append(delays, now-x.over), append(tooLow, v.TooLow)
		b = b.restarted(x, now)
	}
	return delays, tooLow
}

func repeat(n int, l life) (lives []life) {
	for range n {
		lives = append(lives, l)
	}
	return lives
}

func TestHowLongRestartsAreDelayed(t *testing.T) {
	booted := titled(1000, 1000, 1000)
	for name, c := range map[string]struct {
		lives  []life
		delays []time.Duration
		tooLow []bool
	}{
		"soft, below the footprint: known from the first, and the time doubles": {
			repeat(8, life{reason: Soft, limit: 900, kb: 1000, footprint: booted, over: 9 * s}),
			// the first lives 9 s; each further restart is twice as long after the last as that was
			[]time.Duration{0, 8 * s, 26 * s, 62 * s, 134 * s, 278 * s, 566 * s, 1142 * s},
			[]bool{true, true, true, true, true, true, true, true}},
		"soft, above the footprint: a leak, never delayed": {
			repeat(5, life{reason: Soft, limit: 1100, kb: 1200, footprint: booted, over: 9 * s}),
			[]time.Duration{0, 0, 0, 0, 0}, []bool{false, false, false, false, false}},
		"soft, a footprint that was not confirmed: three times running": {
			repeat(4, life{reason: Soft, limit: 900, kb: 1200, footprint: titled(1000, 1200), over: 9 * s}),
			[]time.Duration{0, 0, 10 * s, 30 * s}, []bool{false, false, true, true}},
		"soft, not confirmed, but under the limit when the title appeared: a leak": {
			repeat(4, life{reason: Soft, limit: 1100, kb: 1200, footprint: titled(1000, 1200), over: 9 * s}),
			[]time.Duration{0, 0, 0, 0}, []bool{false, false, false, false}},
		"soft, another process: three times running within a minute": {
			repeat(5, life{reason: Soft, limit: 900, kb: 1000, over: 9 * s}),
			[]time.Duration{0, 0, 10 * s, 30 * s, 70 * s}, []bool{false, false, true, true, true}},
		"soft, another process: later than a minute is a leak": {
			repeat(4, life{reason: Soft, limit: 900, kb: 1000, over: 61 * s}),
			[]time.Duration{0, 0, 0, 0}, []bool{false, false, false, false}},
		"legacy is soft": {
			repeat(3, life{reason: Legacy, limit: 900, kb: 1000, footprint: booted, over: 9 * s}),
			[]time.Duration{0, 8 * s, 26 * s}, []bool{true, true, true}},
		"hard, below the footprint: three times running, then 1 to 10 minutes": {
			repeat(8, life{reason: Hard, limit: 900, kb: 1000, footprint: booted, over: 0}),
			[]time.Duration{0, 0, m - s, 2*m - s, 4*m - s, 8*m - s, 10*m - s, 10*m - s},
			[]bool{false, false, true, true, true, true, true, true}},
		"hard, below the footprint, past 1.25 times that: at once": {
			append(repeat(3, life{reason: Hard, limit: 900, kb: 1000, footprint: booted}), life{reason: Hard, limit: 900, kb: 1251, footprint: booted}),
			[]time.Duration{0, 0, m - s, 0}, []bool{false, false, true, true}},
		"hard, above the footprint: a leak, never delayed": {
			repeat(6, life{reason: Hard, limit: 1100, kb: 1101, footprint: booted, over: 2 * s}),
			[]time.Duration{0, 0, 0, 0, 0, 0}, make([]bool, 6)},
		"hard, another process, past 1.25 times the least it was seen over with: at once": {
			append(repeat(3, life{reason: Hard, limit: 900, kb: 1000}), life{reason: Hard, limit: 900, kb: 1251}),
			[]time.Duration{0, 0, m - s, 0}, []bool{false, false, true, true}},
		"hard, a Sidekiq that boots is let boot": {
			append(repeat(3, life{reason: Hard, limit: 900, kb: 1000, booting: true}), life{reason: Hard, limit: 900, kb: 5000, booting: true}),
			[]time.Duration{0, 0, m - s, 2*m - s}, []bool{false, false, true, true}},
		"hard, but not past 95 % of the memory there is": {
			append(repeat(3, life{reason: Hard, limit: 900, kb: 1000, booting: true}), life{reason: Hard, limit: 900, kb: 95001, booting: true}),
			[]time.Duration{0, 0, m - s, 0}, []bool{false, false, true, true}},
		"for its age: never": {
			repeat(4, life{reason: Age, kb: 1000}), make([]time.Duration, 4), make([]bool, 4)},
		"requested: never": {
			repeat(4, life{reason: Control, kb: 1000}), make([]time.Duration, 4), make([]bool, 4)},
		"one that fits ends the streak": {
			append(append(repeat(2, life{reason: Soft, limit: 900, kb: 1000, over: 9 * s}), life{reason: Soft, limit: 900, kb: 1000, over: 90 * s}),
				repeat(2, life{reason: Soft, limit: 900, kb: 1000, over: 9 * s})...),
			make([]time.Duration, 5), make([]bool, 5)},
	} {
		delays, tooLow := live(c.lives)
		for i := range delays {
			if delays[i] != c.delays[i] || tooLow[i] != c.tooLow[i] {
				t.Errorf("%s: delays %v, want %v; too low %v, want %v", name, delays, c.delays, tooLow, c.tooLow)
				break
			}
		}
	}
}

func TestTheLongestDelayOfASoftRestartIsAnHour(t *testing.T) {
	delays, _ := live(repeat(14, life{reason: Soft, limit: 900, kb: 1000, footprint: titled(1000, 1000, 1000), over: 9 * s}))
	if last := delays[13]; last != time.Hour-10*s {
		t.Errorf("the last waits %v", last)
	}
}

func TestAnotherChildOfTheSameParentIsNeitherCountedNorDelayed(t *testing.T) {
	first := due{Instance{Started: 1000 * s}, Hard, 900, 1010 * s, 1000}
	var b Backoff
	for range 5 { // the children of a parent, all started at once
		if v := b.decide(first, Sample{}); v.TooLow || v.NotBefore != 0 {
			t.Errorf("delayed: %+v", v)
		}
		b = b.restarted(first, 1020*s)
	}
	if b.Hard.Count != 1 {
		t.Errorf("%d are counted", b.Hard.Count)
	}
}

func TestAnInstanceThatStaysUnderTheLimitsEndsTheStreaks(t *testing.T) {
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
}

func TestTheNextOfSeveralWaitsForTheReplacementOfTheLast(t *testing.T) {
	l := Limits{Retry: m}
	wait := WaitForReplacement(3, l, 10*s)
	for name, c := range map[string]struct {
		count  int
		at     time.Duration
		active bool
	}{
		"not replaced":             {2, 11 * s, true},
		"replaced":                 {3, 11 * s, false},
		"for the retry time alone": {2, 70 * s, false},
	} {
		if after := wait.Update(c.count, c.at); after.Active() != c.active {
			t.Errorf("%s: %+v", name, after)
		}
	}
	if (ReplacementWait{}).Active() || (ReplacementWait{}).Update(0, 0).Active() {
		t.Error("the zero wait waits")
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
