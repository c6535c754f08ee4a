// Package schedule parses signal schedules, which have the form of
// start-stop-daemon's --retry, and runs one against a process, its process group,
// its tree, or all that belongs to it. It signals by pidfd alone, and never what
// the caller itself depends on.
package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/units"
)

// Schedule is signals and waits, in order.
type Schedule struct {
	Steps  []Step
	Repeat int // the step that follows the last one; len(Steps): none does
}

// Step is a signal, and how long to wait for the end after it.
type Step struct {
	Signal unix.Signal
	Scope  proc.Scope // what it is sent to, if Scoped
	Scoped bool       // the signal has a suffix: @process, @group, @tree or @all
	Waits  bool       // a wait follows
	Wait   units.Duration
}

// Parse reads SIGNAL/SECONDS/SIGNAL/SECONDS/... A signal is a name, with or
// without SIG, or a number, and may have a dash before it; the word forever
// repeats what follows it.
func Parse(text string) (Schedule, error) {
	s := Schedule{Repeat: -1}
	for word := range strings.SplitSeq(text, "/") {
		if err := s.add(word); err != nil {
			return Schedule{}, fmt.Errorf("invalid schedule %q (want for example TERM, TERM/27/KILL/5 or TSTP@process/30/TERM@all/27/KILL@all/5): %w", text, err)
		}
	}
	if s.Repeat < 0 {
		s.Repeat = len(s.Steps)
	} else if !slices.ContainsFunc(s.Steps[s.Repeat:], func(step Step) bool { return step.Wait > 0 }) {
		return Schedule{}, fmt.Errorf("invalid schedule %q: the steps after forever need a wait", text)
	}
	return s, nil
}

// add reads the next word: after a signal a number is seconds, elsewhere a signal.
func (s *Schedule) add(word string) error {
	if word == "forever" && s.Repeat < 0 {
		s.Repeat = len(s.Steps)
		return nil
	}
	last := len(s.Steps) - 1
	if last >= 0 && !s.Steps[last].Waits && s.Repeat != len(s.Steps) {
		wait, err := units.ParseDuration(word)
		if err == nil {
			s.Steps[last].Wait, s.Steps[last].Waits = wait, true
			return nil
		}
		// Where a wait is due, -5 is an invalid wait, not a signal.
		if step, errStep := parseStep(word); errStep == nil && strings.Trim(word, "-0123456789") != "" {
			s.Steps = append(s.Steps, step)
			return nil
		}
		return err
	}
	step, err := parseStep(word)
	if err == nil {
		s.Steps = append(s.Steps, step)
	}
	return err
}

// scopes are what can be signalled.
var scopes = []proc.Scope{proc.ScopeProcess, proc.ScopeGroup, proc.ScopeTree, proc.ScopeAll}

func parseStep(word string) (step Step, err error) {
	name, scope, scoped := strings.Cut(word, "@")
	step.Signal, err = parseSignal(strings.TrimPrefix(name, "-"))
	if err == nil && scoped {
		step.Scoped = true
		step.Scope, err = proc.ParseScope(scope, scopes)
	}
	return step, err
}

// otherNames are the synonyms in signal(7).
var otherNames = map[string]string{"IOT": "ABRT", "CLD": "CHLD", "POLL": "IO"}

// parseSignal reads a name, with or without SIG, or a number, 1 to 64.
func parseSignal(name string) (unix.Signal, error) {
	if n, err := strconv.ParseUint(name, 10, 8); err == nil && n >= 1 && n <= 64 {
		return unix.Signal(n), nil
	}
	short := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if other, ok := otherNames[short]; ok {
		short = other
	}
	if sig := unix.SignalNum("SIG" + short); sig > 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("invalid signal %q (want for example TERM, SIGTERM or 15)", name)
}

// Name is a signal's name without SIG, or its number.
func Name(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}

// deadline is when a wait ends; the zero time for one that never does.
func (s Step) deadline() time.Time {
	if s.Wait == units.Never {
		return time.Time{}
	}
	return time.Now().Add(s.Wait.Std())
}
