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

// step is a sample and what it changes, or, with another letter for a kind, what becomes of the state beside samples.
type step struct {
	kind       byte
	second, kb int64
	want       string
}

const (
	plain    = 's'
	byClock  = 'c' // with Legacy: reversible
	hardOnly = 'h' // likewise, and for the hard limit alone
	blocked  = 'b'
	postpone = 'P'
	fail     = 'F'
	request  = 'R'
	resume   = 'U'
)

func (x step) of(state State, l Limits) (State, Change) {
	at := time.Duration(x.second) * s
	switch x.kind {
	case postpone:
		return state.Postponed(l, at), Change{}
	case fail:
		return state.Failed(l, at), Change{}
	case request:
		return state.Requested(), Change{}
	case resume:
		return state.Resumed(), Change{}
	}
	return state.Step(l, Sample{At: at, KB: x.kb, Reversible: x.kind == byClock || x.kind == hardOnly, HardOnly: x.kind == hardOnly,
		Blocked: x.kind == blocked})
}

func TestWhatEachSampleChanges(t *testing.T) {
	daemon := Limits{Soft: 100, Hard: 200, Grace: 10 * s, Retry: 60 * s}
	legacy := Limits{Soft: 100, Hard: 200, Grace: 10 * s, Retry: 60 * s, Legacy: true}
	for name, c := range map[string]struct {
		limits Limits
		steps  []step
	}{
		"under and at the limit": {daemon, []step{{plain, 1, 1, ""}, {plain, 2, 100, ""}, {plain, 1000, 100, ""}}},
		"over it for the grace time": {daemon, []step{
			{plain, 1, 101, "over-soft "}, {plain, 10, 150, ""}, {plain, 11, 101, "grace-over soft"}, {plain, 12, 101, ""}}},
		"back under it within the grace time: the next time counts anew": {daemon, []step{
			{plain, 1, 101, "over-soft "}, {plain, 10, 100, "under-soft "}, {plain, 11, 101, "over-soft "}, {plain, 20, 101, ""},
			{plain, 21, 101, "grace-over soft"}}},
		"over the hard limit":                       {daemon, []step{{plain, 1, 201, "over-soft over-hard hard"}}},
		"over the hard limit within the grace time": {daemon, []step{{plain, 1, 101, "over-soft "}, {plain, 2, 201, "over-hard hard"}}},
		"at the hard limit":                         {daemon, []step{{plain, 1, 200, "over-soft "}}},
		"no grace time":                             {Limits{Soft: 100}, []step{{plain, 1, 101, "over-soft grace-over soft"}}},
		"no soft limit":                             {Limits{Hard: 200}, []step{{plain, 1, 200, ""}, {plain, 2, 201, "over-hard hard"}}},
		"an endless grace time":                     {Limits{Soft: 100, Grace: Never}, []step{{plain, 1, 101, "over-soft "}, {plain, 1 << 30, 101, ""}}},
		"a clock that stands still":                 {daemon, []step{{plain, 5, 101, "over-soft "}, {plain, 5, 101, ""}, {plain, 4, 101, ""}}},
		"too old":                                   {Limits{MaxAgeAt: 100 * s}, []step{{plain, 99, 1, ""}, {plain, 100, 1, "age"}}},

		"postponed: tried again if it is still over": {daemon, []step{
			{plain, 1, 101, "over-soft "}, {plain, 11, 101, "grace-over soft"}, {postpone, 20, 0, ""}, {plain, 79, 101, ""}, {plain, 80, 101, "soft"}}},
		"postponed, and under the limit": {daemon, []step{
			{plain, 1, 101, "over-soft "}, {plain, 11, 101, "grace-over soft"}, {postpone, 20, 0, ""}, {plain, 30, 100, "under-soft "}, {plain, 80, 100, ""}}},
		"postponed, and over the hard limit: at once": {daemon, []step{
			{plain, 1, 101, "over-soft "}, {plain, 11, 101, "grace-over soft"}, {postpone, 20, 0, ""}, {plain, 21, 201, "over-hard hard"}}},
		"postponed, under the hard limit, and over it again: not before the retry time": {daemon, []step{
			{plain, 1, 201, "over-soft over-hard hard"}, {postpone, 2, 0, ""}, {plain, 3, 199, ""}, {plain, 4, 201, "over-hard "},
			{plain, 11, 201, "grace-over "}, {plain, 62, 201, "hard"}}},
		"failed: begun again at any size": {daemon, []step{
			{plain, 0, 201, "over-soft over-hard hard"}, {fail, 10, 0, ""}, {plain, 20, 1, "under-soft "}, {plain, 69, 1, ""}, {plain, 70, 1, "hard"}}},
		"requested: at once, at any size": {daemon, []step{{postpone, 10, 0, ""}, {request, 10, 0, ""}, {plain, 10, 1, "control"}}},
		"blocked by another restart": {Limits{Soft: 100}, []step{
			{blocked, 1, 101, "over-soft grace-over "}, {plain, 2, 101, "soft"}}},
		"its watcher was killed during the restart": {daemon, []step{
			{plain, 1, 201, "over-soft over-hard hard"}, {resume, 0, 0, ""}, {plain, 2, 1, "under-soft hard"}}},
		"over the hard limit during a restart": {Limits{Soft: 100, Hard: 200}, []step{
			{plain, 1, 101, "over-soft grace-over soft"}, {plain, 2, 201, "over-hard "}, {plain, 2, 201, ""}}},

		"legacy: not cancelled": {legacy, []step{
			{plain, 1, 101, "over-soft "}, {plain, 2, 1, ""}, {plain, 10, 1, ""}, {plain, 11, 1, "grace-over legacy"}}},
		"legacy, seen by the clock alone": {legacy, []step{{byClock, 1, 101, "over-soft "}, {byClock, 2, 100, "under-soft "}, {byClock, 12, 100, ""}}},
		"legacy, seen by the clock, then by the hook": {legacy, []step{
			{byClock, 1, 101, "over-soft "}, {plain, 2, 101, ""}, {byClock, 3, 100, ""}, {byClock, 11, 100, "grace-over legacy"}}},
		"legacy, the hook asks when it is small": {legacy, []step{{byClock, 1, 101, "over-soft "}, {plain, 2, 100, ""}, {byClock, 3, 100, "under-soft "}}},
		"legacy, for the hard limit alone":       {legacy, []step{{hardOnly, 1, 101, ""}, {hardOnly, 20, 101, ""}, {hardOnly, 21, 201, "over-hard hard"}}},
		"legacy, the grace time of the hook":     {legacy, []step{{plain, 1, 101, "over-soft "}, {hardOnly, 11, 1, "grace-over legacy"}}},
	} {
		var state State
		for i, x := range c.steps {
			var change Change
			if state, change = x.of(state, c.limits); changes(change) != x.want {
				t.Errorf("%s: step %d: %q, want %q", name, i, changes(change), x.want)
			}
		}
	}
}

func TestWhenTheNextSampleIsDue(t *testing.T) {
	l := Limits{Soft: 100, Grace: 10 * s, Retry: 60 * s}
	over := State{Over: true, Since: 3 * s}
	for name, c := range map[string]struct {
		state  State
		limits Limits
		want   time.Duration // Never: by time alone nothing changes
	}{
		"under the limit":       {State{}, l, Never},
		"over it":               {over, l, 13 * s},
		"an endless grace time": {over, Limits{Soft: 100, Grace: Never}, Never},
		"postponed":             {over.Postponed(l, 20*s), l, 80 * s},
		"failed":                {State{}.Failed(l, 10*s), l, 70 * s},
		"an age":                {State{}, Limits{MaxAgeAt: 100 * s}, 100 * s},
		"being restarted":       {State{Over: true, Restarting: true}, l, Never},
	} {
		if next, ok := c.state.Next(c.limits); ok != (c.want < Never) || ok && next != c.want {
			t.Errorf("%s: %v, %v, want %v", name, next, ok, c.want)
		}
	}
}

// FuzzInvariants runs a process through sizes and outcomes that the fuzzer
// chooses, two bytes a step.
func FuzzInvariants(f *testing.F) {
	f.Add(false, uint8(100), uint8(200), uint8(5), []byte{10, 1, 101, 1, 102, 3, 99, 9, 255, 1, 101, 200})
	f.Add(true, uint8(100), uint8(0), uint8(5), []byte{101, 1, 1, 1, 1, 3, 1, 9})
	f.Add(false, uint8(0), uint8(50), uint8(0), []byte{50, 0, 51, 0, 51, 60})
	f.Add(false, uint8(100), uint8(200), uint8(5), []byte{120, 48, 120, 48, 255, 65}) // over the hard limit within the retry time
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
			postponed := state.Reason
			state, c = state.Step(l, Sample{At: now, KB: kb})
			fail := func(what string) { t.Fatal(what, fmt.Sprintf("%+v %+v %+v at %v with %d KB", l, state, c, now, kb)) }
			if state.Over != over {
				fail("the timer does not run when it should, or runs when it should not")
			}
			if c.OverHard && postponed != Hard {
				retryAt = now
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
