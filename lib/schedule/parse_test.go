package schedule

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// describeSteps is a schedule in words: signals, their scopes, the waits after them, and what is repeated.
func describeSteps(s Schedule) string {
	var words []string
	for i, step := range s.Steps {
		if i == s.Repeat {
			words = append(words, "forever")
		}
		words = append(words, Name(step.Signal))
		if step.Scoped {
			words = append(words, "@"+step.Scope.String())
		}
		if step.Waits {
			words = append(words, step.Wait.String())
		}
	}
	return strings.Join(words, " ")
}

func TestAScheduleIsSignalsAndWaits(t *testing.T) {
	for text, want := range map[string]string{
		"TERM":                       "TERM",
		"SIGTERM":                    "TERM",
		"term":                       "TERM",
		"15":                         "TERM",
		"-TERM":                      "TERM",
		"IOT":                        "ABRT",
		"HUP/TERM":                   "HUP TERM",
		"TERM/0":                     "TERM 0s",
		"TERM/1.5":                   "TERM 1.5s",
		"TERM/inf":                   "TERM inf",
		"TERM/27/KILL/5":             "TERM 27s KILL 5s",
		"-15/5/-9":                   "TERM 5s KILL",
		"TSTP@process/30/KILL@group": "TSTP @process 30s KILL @group",
		"TERM@tree":                  "TERM @tree",
		"KILL@all/5":                 "KILL @all 5s",
		"TERM/5/forever/KILL/1":      "TERM 5s forever KILL 1s",
		"forever/TERM/1":             "forever TERM 1s",
	} {
		if s, err := Parse(text); err != nil || describeSteps(s) != want {
			t.Errorf("%s: %q, %v; want %q", text, describeSteps(s), err, want)
		}
	}
}

func TestAnInvalidScheduleIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `invalid signal ""`,
		"/5":                     `invalid signal ""`,
		"0":                      `invalid signal "0"`,
		"65":                     `invalid signal "65"`,
		"TERM 5":                 `invalid signal "TERM 5"`,
		"TERM/5/":                `invalid signal ""`,
		"TERM/5/KILLL":           `invalid signal "KILLL"`,
		"TERM/9/9999":            `invalid signal "9999"`,
		"TERM/forever/5":         "the steps after forever need a wait",
		"TERM/-5":                `invalid duration "-5"`,
		"TERM@":                  `invalid scope ""`,
		"TERM@children":          `invalid scope "children" (want process, group, tree or all)`,
		"forever":                "the steps after forever need a wait",
		"forever/TERM/0":         "the steps after forever need a wait",
		"TERM/1/forever":         "the steps after forever need a wait",
		"forever/forever/TERM/1": `invalid signal "forever"`,
	} {
		_, err := Parse(text)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("invalid schedule %q", text)) || !strings.Contains(err.Error(), ": "+want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestASignalIsNamedAsItIsRead(t *testing.T) {
	for sig := unix.Signal(1); sig <= 64; sig++ {
		if again, err := parseSignal(Name(sig)); err != nil || again != sig {
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
