package grace

import (
	"fmt"
	"testing"
	"time"
)

const s = time.Second

// changes is what a sample changed, in a word or two.
func changes(c Change) string {
	text := ""
	for _, part := range []struct {
		is   bool
		word string
	}{{c.OverSoft, "over-soft "}, {c.UnderSoft, "under-soft "}, {c.OverHard, "over-hard "}, {c.GraceOver, "grace-over "}} {
		if part.is {
			text += part.word
		}
	}
	return text + string(c.Restart)
}

func TestTheTimer(t *testing.T) {
	type at struct {
		second int64
		kb     int64
		want   string
	}
	daemon := Limits{Soft: 100, Hard: 200, Grace: 10 * s, Retry: 60 * s}
	legacy := Limits{Soft: 100, Grace: 10 * s, Retry: 60 * s, Legacy: true}
	for name, c := range map[string]struct {
		limits  Limits
		samples []at
	}{
		"under and at the limit nothing happens": {daemon, []at{{1, 1, ""}, {2, 100, ""}, {1000, 100, ""}}},
		"over it for the grace time: a restart": {daemon, []at{
			{1, 101, "over-soft "}, {10, 150, ""}, {11, 101, "grace-over soft"}, {12, 101, ""}}},
		"back under it within the grace time: none, and the next time counts anew": {daemon, []at{
			{1, 101, "over-soft "}, {10, 100, "under-soft "}, {11, 101, "over-soft "}, {20, 101, ""}, {21, 101, "grace-over soft"}}},
		"over the hard limit: at once":                       {daemon, []at{{1, 201, "over-soft over-hard hard"}}},
		"over the hard limit within the grace time: at once": {daemon, []at{{1, 101, "over-soft "}, {2, 201, "over-hard hard"}}},
		"at the hard limit: not":                             {daemon, []at{{1, 200, "over-soft "}}},
		"no grace time: at once":                             {Limits{Soft: 100}, []at{{1, 101, "over-soft grace-over soft"}}},
		"no soft limit: the hard one alone":                  {Limits{Hard: 200}, []at{{1, 200, ""}, {2, 201, "over-hard hard"}}},
		"an endless grace time":                              {Limits{Soft: 100, Grace: Never}, []at{{1, 101, "over-soft "}, {1 << 30, 101, ""}}},
		"legacy: not cancelled": {legacy, []at{
			{1, 101, "over-soft "}, {2, 1, ""}, {10, 1, ""}, {11, 1, "grace-over legacy"}}},
		"a clock that stands still": {daemon, []at{{5, 101, "over-soft "}, {5, 101, ""}, {4, 101, ""}}},
	} {
		var state State
		for _, x := range c.samples {
			var change Change
			state, change = state.Step(c.limits, Sample{At: time.Duration(x.second) * s, KB: x.kb})
			if changes(change) != x.want {
				t.Errorf("%s: %d KB at %d s: %q, want %q", name, x.kb, x.second, changes(change), x.want)
			}
		}
	}
}

func TestAPostponedRestartIsTriedAgainIfStillOver(t *testing.T) {
	l := Limits{Soft: 100, Grace: 10 * s, Retry: 60 * s}
	state, c := State{Over: true}.Step(l, Sample{At: 10 * s, KB: 101})
	if c.Restart != Soft {
		t.Fatal("no restart")
	}
	state = state.Postponed(l, 20*s)
	if next, ok := state.Next(l); !ok || next != 80*s {
		t.Errorf("next at %v, %v", next, ok)
	}
	if _, c := state.Step(l, Sample{At: 79 * s, KB: 101}); c.Restart != "" {
		t.Error("restart before the retry time")
	}
	if _, c := state.Step(l, Sample{At: 80 * s, KB: 101}); changes(c) != "soft" {
		t.Errorf("still over after the retry time: %q", changes(c))
	}
	under, c := state.Step(l, Sample{At: 30 * s, KB: 100})
	if changes(c) != "under-soft " {
		t.Errorf("under: %q", changes(c))
	}
	if _, c := under.Step(l, Sample{At: 80 * s, KB: 100}); c.Restart != "" {
		t.Error("restart though it is under the limit again")
	}
}

func TestARestartThatFailedIsBegunAgainWhateverTheSize(t *testing.T) {
	l := Limits{Soft: 100, Hard: 200, Retry: 60 * s, Grace: s}
	state, _ := State{}.Step(l, Sample{At: 0, KB: 201})
	state = state.Failed(l, 10*s)
	state, c := state.Step(l, Sample{At: 20 * s, KB: 1})
	if c.Restart != "" {
		t.Error("restart before the retry time")
	}
	if next, ok := state.Next(l); !ok || next != 70*s {
		t.Errorf("next at %v, %v", next, ok)
	}
	if _, c = state.Step(l, Sample{At: 70 * s, KB: 1}); c.Restart != Hard {
		t.Errorf("after the retry time: %q", changes(c))
	}
}

func TestASampleIsDueWhenTheGraceTimeExpires(t *testing.T) {
	l := Limits{Soft: 100, Grace: 10 * s}
	state := State{}
	if _, ok := state.Next(l); ok {
		t.Error("something is due under the limit")
	}
	state, _ = state.Step(l, Sample{At: 3 * s, KB: 101})
	if next, ok := state.Next(l); !ok || next != 13*s {
		t.Errorf("next at %v, %v", next, ok)
	}
	l.Grace = Never
	if next, ok := state.Next(l); ok {
		t.Errorf("an endless grace time is over at %v", next)
	}
}

func TestAProcessThatIsTooOldIsRestarted(t *testing.T) {
	l := Limits{MaxAgeAt: 100 * s}
	if next, ok := (State{}).Next(l); !ok || next != 100*s {
		t.Errorf("next at %v, %v", next, ok)
	}
	if _, c := (State{}).Step(l, Sample{At: 99 * s, KB: 1}); c != (Change{}) {
		t.Errorf("too early: %q", changes(c))
	}
	state, c := State{}.Step(l, Sample{At: 100 * s, KB: 1})
	if c.Restart != Age || !state.Restarting {
		t.Errorf("%q", changes(c))
	}
}

func TestARequestedRestartBeginsWhateverTheSize(t *testing.T) {
	l := Limits{Soft: 100, Retry: s}
	state := State{}.Postponed(l, 10*s).Requested()
	if _, c := state.Step(l, Sample{At: 10 * s, KB: 1}); c.Restart != Control {
		t.Errorf("%q", changes(c))
	}
}

func TestNoRestartBeginsWhileAnotherIsUnderWay(t *testing.T) {
	l := Limits{Soft: 100}
	state, c := State{}.Step(l, Sample{At: s, KB: 101, Blocked: true})
	if changes(c) != "over-soft grace-over " {
		t.Errorf("blocked: %q", changes(c))
	}
	if _, c = state.Step(l, Sample{At: 2 * s, KB: 101}); c.Restart != Soft {
		t.Errorf("not blocked any more: %q", changes(c))
	}
}

func TestARestartWhoseWatcherDiedIsBegunAgain(t *testing.T) {
	l := Limits{Soft: 100, Grace: 900 * s}
	state := State{Over: true, Restarting: true, Reason: Hard}
	if _, c := state.Resumed().Step(l, Sample{At: s, KB: 1}); c.Restart != Hard {
		t.Errorf("%q", changes(c))
	}
}

func TestPassingTheHardLimitIsSeenDuringARestart(t *testing.T) {
	l := Limits{Soft: 100, Hard: 200, Retry: s}
	state, _ := State{}.Step(l, Sample{At: s, KB: 101})
	for i, want := range []string{"over-hard ", ""} {
		var c Change
		if state, c = state.Step(l, Sample{At: 2 * s, KB: 201}); changes(c) != want {
			t.Errorf("check %d: %q, want %q", i, changes(c), want)
		}
	}
	if state = state.Postponed(l, 3*s); state.NotBefore != 4*s {
		t.Errorf("postponed until %v", state.NotBefore)
	}
}

func TestALegacyTimerOfChecksByTheClockCanBeCancelled(t *testing.T) {
	type at struct {
		sample Sample
		want   string
	}
	clock := func(second, kb int64) Sample {
		return Sample{At: time.Duration(second) * s, KB: kb, Reversible: true}
	}
	hook := func(second, kb int64) Sample { return Sample{At: time.Duration(second) * s, KB: kb} }
	hardOnly := func(second, kb int64) Sample {
		x := clock(second, kb)
		x.HardOnly = true
		return x
	}
	l := Limits{Soft: 100, Hard: 200, Grace: 10 * s, Legacy: true}
	for name, samples := range map[string][]at{
		"seen by the clock alone":                     {{clock(1, 101), "over-soft "}, {clock(2, 100), "under-soft "}, {clock(12, 100), ""}},
		"then asked for by the hook":                  {{clock(1, 101), "over-soft "}, {hook(2, 101), ""}, {clock(3, 100), ""}, {clock(11, 100), "grace-over legacy"}},
		"the hook asks when it is small":              {{clock(1, 101), "over-soft "}, {hook(2, 100), ""}, {clock(3, 100), "under-soft "}},
		"the clock does not count for the soft limit": {{hardOnly(1, 101), ""}, {hardOnly(20, 101), ""}},
		"the clock always counts for the hard limit":  {{hardOnly(1, 201), "over-hard hard"}},
		"the grace time of the hook expires":          {{hook(1, 101), "over-soft "}, {hardOnly(11, 1), "grace-over legacy"}},
	} {
		var state State
		for _, x := range samples {
			var c Change
			if state, c = state.Step(l, x.sample); changes(c) != x.want {
				t.Errorf("%s: at %v: %q, want %q", name, x.sample.At, changes(c), x.want)
			}
		}
	}
}

// FuzzInvariants runs a process through sizes and outcomes that the fuzzer
// chooses, two bytes a step.
func FuzzInvariants(f *testing.F) {
	f.Add(false, uint8(100), uint8(200), uint8(5), []byte{10, 1, 101, 1, 102, 3, 99, 9, 255, 1, 101, 200})
	f.Add(true, uint8(100), uint8(0), uint8(5), []byte{101, 1, 1, 1, 1, 3, 1, 9})
	f.Add(false, uint8(0), uint8(50), uint8(0), []byte{50, 0, 51, 0, 51, 60})
	f.Fuzz(func(t *testing.T, isLegacy bool, soft, hard, grace uint8, steps []byte) {
		l := Limits{Soft: int64(soft), Hard: int64(hard), Grace: time.Duration(grace) * s, Retry: 7 * s, Legacy: isLegacy}
		var state State
		var now, overSince, retryAt time.Duration
		over, failed := false, false
		for ; len(steps) >= 2; steps = steps[2:] {
			kb := int64(steps[0])
			now += time.Duration(steps[1]&0x3f) * s
			if isOver := soft > 0 && kb > int64(soft); !over && isOver {
				over, overSince = true, now
			} else if !isOver && !isLegacy {
				over = false
			}
			var c Change
			state, c = state.Step(l, Sample{At: now, KB: kb})
			fail := func(what string) { t.Fatal(what, fmt.Sprintf("%+v %+v %+v at %v with %d KB", l, state, c, now, kb)) }
			if state.Over != over {
				fail("the timer does not run when it should, or runs when it should not")
			}
			due := over && now-overSince >= l.Grace || hard > 0 && kb > int64(hard) || failed
			switch {
			case c.Restart != "" && !due:
				fail("a restart under the limit, or before the grace time")
			case c.Restart != "" && now < retryAt:
				fail("a restart before the retry time")
			case c.Restart == "" && due && now >= retryAt:
				fail("no restart though it is due")
			case c.Restart != state.Reason && c.Restart != "", state.Restarting != (c.Restart != ""):
				fail("the state does not know its restart")
			case c.OverSoft && c.UnderSoft:
				fail("over and under at once")
			}
			if next, ok := state.Next(l); ok && c.Restart == "" && next <= now {
				fail("something was due and did not happen")
			}
			if c.Restart == "" {
				continue
			}
			if _, c := state.Step(l, Sample{At: now, KB: 1 << 40}); c.OverSoft || c.UnderSoft || c.GraceOver || c.Restart != "" {
				fail("more than the hard limit changes while a restart is under way")
			}
			retryAt = now + l.Retry
			if steps[1]&0x40 != 0 {
				state, failed = state.Failed(l, now), true
			} else {
				state = state.Postponed(l, now)
			}
		}
	})
}
