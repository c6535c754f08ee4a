package schedule

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/units"
)

func waits(text string) units.Duration {
	d, err := units.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

func TestAScheduleIsSignalsAndWaits(t *testing.T) {
	term := Step{Signal: unix.SIGTERM}
	for text, want := range map[string]Schedule{
		"TERM":    {[]Step{term}, 1},
		"SIGTERM": {[]Step{term}, 1},
		"term":    {[]Step{term}, 1},
		"15":      {[]Step{term}, 1},
		"-TERM":   {[]Step{term}, 1},
		"TERM/27/KILL/5": {[]Step{
			{Signal: unix.SIGTERM, Waits: true, Wait: waits("27")}, {Signal: unix.SIGKILL, Waits: true, Wait: waits("5")}}, 2},
		"15/27/9":  {[]Step{{Signal: unix.SIGTERM, Waits: true, Wait: waits("27")}, {Signal: unix.SIGKILL}}, 2},
		"-15":      {[]Step{term}, 1},
		"-15/5/-9": {[]Step{{Signal: unix.SIGTERM, Waits: true, Wait: waits("5")}, {Signal: unix.SIGKILL}}, 2},
		"IOT":      {[]Step{{Signal: unix.SIGABRT}}, 1},
		"HUP/TERM": {[]Step{{Signal: unix.SIGHUP}, term}, 2},
		"TERM/0":   {[]Step{{Signal: unix.SIGTERM, Waits: true}}, 1},
		"TERM/1.5": {[]Step{{Signal: unix.SIGTERM, Waits: true, Wait: waits("1500ms")}}, 1},
		"TERM/inf": {[]Step{{Signal: unix.SIGTERM, Waits: true, Wait: units.Never}}, 1},
		"TSTP@process/30/KILL@group": {[]Step{
			{Signal: unix.SIGTSTP, Scope: proc.ScopeProcess, Scoped: true, Waits: true, Wait: waits("30")},
			{Signal: unix.SIGKILL, Scope: proc.ScopeGroup, Scoped: true}}, 2},
		"KILL@all/5":            {[]Step{{Signal: unix.SIGKILL, Scope: proc.ScopeAll, Scoped: true, Waits: true, Wait: waits("5")}}, 1},
		"TERM@tree":             {[]Step{{Signal: unix.SIGTERM, Scope: proc.ScopeTree, Scoped: true}}, 1},
		"TERM/5/forever/KILL/1": {[]Step{{Signal: unix.SIGTERM, Waits: true, Wait: waits("5")}, {Signal: unix.SIGKILL, Waits: true, Wait: waits("1")}}, 1},
	} {
		s, err := Parse(text)
		if err != nil || !slices.Equal(s.Steps, want.Steps) || s.Repeat != want.Repeat {
			t.Errorf("%s: %+v, %v; want %+v", text, s, err, want)
		}
	}
}

func TestAnInvalidScheduleIsNamed(t *testing.T) {
	for _, text := range []string{"", "/", "TERM/", "/5", "TERM/5/", "TERM/-5", "TERM/9/9/", "0", "65", "FOO", "SIG", "TERM@", "TERM@cgroup", "TERM@children",
		"TERM/5x", "TERM 5", "forever", "forever/TERM", "TERM/forever/5", "forever/forever/TERM/1", "forever/TERM/0", "TERM/1/forever"} {
		if s, err := Parse(text); err == nil || !strings.Contains(err.Error(), "invalid schedule") {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestASignalIsNamedAsItIsRead(t *testing.T) {
	for sig := unix.Signal(1); sig <= 64; sig++ {
		if again, err := ParseSignal(Name(sig)); err != nil || again != sig {
			t.Errorf("signal %d is %q, and that is %d, %v", sig, Name(sig), again, err)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"TERM", "TERM/27/KILL/5", "TSTP@process/30/TERM/27/KILL@group/5", "forever/KILL/1", "15/1/9", "-TERM/inf", "TERM//5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if len(s.Steps) == 0 || s.Repeat < 0 || s.Repeat > len(s.Steps) {
			t.Fatalf("%q: %+v", text, s)
		}
		for _, step := range s.Steps {
			if step.Signal < 1 || step.Signal > 64 || step.Wait < 0 || step.Wait > 0 && !step.Waits || step.Scope == proc.ScopeChildren {
				t.Errorf("%q: %+v", text, step)
			}
		}
	})
}
