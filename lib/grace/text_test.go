package grace

import "testing"

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	for _, state := range []State{
		{},
		{Over: true, Since: 12 * s},
		{Over: true, Since: 1, OverHard: true, HardSince: 2, GraceOver: true, Restarting: true, Reason: Hard, Committed: true, NotBefore: forever},
	} {
		if again, err := ParseState(state.Text()); err != nil || again != state {
			t.Errorf("%+v is %q, and that is %+v, %v", state, state.Text(), again, err)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add("over since=12000000000 reason=soft grace-over")
	f.Add("over-hard hard-since=1 not-before=9223372036854775807 restarting committed")
	f.Add("since=-1")
	f.Fuzz(func(t *testing.T, text string) {
		state, err := ParseState(text)
		if err != nil {
			return
		}
		if again, err := ParseState(state.Text()); err != nil || again != state {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, state, state.Text(), again, err)
		}
	})
}
