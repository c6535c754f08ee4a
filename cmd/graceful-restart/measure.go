package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"gracekit/lib/cgroup"
	"gracekit/lib/proc"
	"gracekit/lib/restart"
)

// readLimit reads what gracewatch says of the restart in our environment.
func readLimit() (l restart.Limit, err error) {
	if text := os.Getenv("GRACE_HARD_KB"); text != "" {
		if l.KB, err = strconv.ParseInt(text, 10, 64); err != nil || l.KB < 0 {
			return l, fmt.Errorf("GRACE_HARD_KB: invalid size %q (want a number of KB)", text)
		}
	}
	l.Hard = os.Getenv("GRACE_REASON") == "hard"
	return l, nil
}

// measure returns a function that measures a worker as gracewatch does, because
// the sizes are compared with its limit: by what it noted in its state file, else
// by what memory-killer passed to it.
func (f *finder) measure() func(*proc.Process) (int64, error) {
	text, scope := f.own.Measure, f.own.Scope
	if s := f.snapshot(); s != nil {
		text, scope = s.Measure, s.Scope
	}
	var field proc.Field
	for name := range strings.SplitSeq(text, "+") {
		if part, err := proc.ParseField(name); err == nil {
			field |= part
		}
	}
	if field == 0 {
		field = proc.RSS
	}
	scan := proc.NewScanner()
	return func(worker *proc.Process) (int64, error) {
		var u proc.Usage
		var err error
		switch target := f.place.target; scope {
		case proc.ScopeCgroup.String():
			return cgroup.WorkingSet(target.ID.PID)
		case proc.ScopeGroup.String():
			u, err = scan.Usage(target, proc.ScopeGroup, field)
		case proc.ScopeTree.String():
			u, err = scan.Usage(target, proc.ScopeTree, field)
		default: // each worker for itself
			u, err = scan.Usage(worker, proc.ScopeProcess, field)
		}
		return field.Sum(u), err
	}
}
