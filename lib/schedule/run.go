package schedule

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Run is a schedule against one target.
type Run struct {
	ID      proc.ID       // the target
	Process *proc.Process // the same, nil if it has ended: its group may live
	Alone   bool          // the target is the process, and not its group
	Caught  bool          // a signal goes only to those that have a handler for it

	Warn, Info func(format string, args ...any)

	own   proc.Own
	scan  *proc.Scanner
	scope proc.Scope // what is meant by the target, and so waited for; widened by what was signalled
	tree  []proc.ID  // those that a signal to the tree went to
}

// errOwn is the refusal to signal what the caller needs.
var errOwn = errors.New("the caller's own")

// Do runs the schedule. It returns what is left of the target after the last
// wait; nothing, if the schedule ends in a signal and that was sent. An error
// is a refusal: nothing more was signalled.
func (r *Run) Do(s Schedule) (left []proc.ID, err error) {
	r.own = proc.Self()
	r.scan = proc.NewScanner()
	defer r.scan.Close()
	if err := r.allowed(proc.ScopeProcess); err != nil { // before anything is said of it
		return nil, err
	}
	if err := r.aim(); err != nil {
		return nil, err
	}
	for _, step := range s.Steps { // before the first signal
		if err := r.allowed(r.scopeOf(step)); err != nil {
			return nil, err
		}
	}
	sent := false
	for i := 0; i < len(s.Steps); i++ {
		step := s.Steps[i]
		if i > 0 || r.scopeOf(step) == r.scope { // a first signal with a scope of its own may find what is not waited for
			if gone, err := r.gone(); err != nil || gone {
				return nil, err
			}
		}
		if sent, err = r.send(step.Signal, r.scopeOf(step)); err != nil {
			return nil, err
		}
		if step.Waits && (sent || i >= s.Repeat) { // a signal left out needs no wait, unless it is tried for ever
			gone, err := r.wait(step.deadline())
			if err != nil || gone {
				return nil, err
			}
		}
		if i == len(s.Steps)-1 {
			i = s.Repeat - 1
		}
	}
	if last := s.Steps[len(s.Steps)-1]; sent && !last.Waits {
		return nil, nil // whether it ends is not asked
	}
	return r.left()
}

// aim decides what is meant by the target.
func (r *Run) aim() error {
	r.scope = proc.ScopeGroup
	if r.Alone {
		r.scope = proc.ScopeProcess
	}
	if r.Process == nil || r.Alone {
		return nil
	}
	leads, err := r.leads()
	if err == nil && !leads {
		r.Warn("%v leads no process group (its run script needs pgexec or chpst -P): signalled alone", r.ID)
		r.scope = proc.ScopeProcess
	}
	return err
}

// leads tells whether the target leads a process group. Otherwise the group
// that it is in is somebody else's, its supervisor's most likely.
func (r *Run) leads() (bool, error) {
	if r.Process == nil {
		return true, nil
	}
	s, err := r.Process.Stat()
	if errors.Is(err, proc.ErrGone) {
		return true, nil
	}
	return s.PGID == s.PID, err
}

// scopeOf is whom a step signals.
func (r *Run) scopeOf(step Step) proc.Scope {
	if !step.Scoped {
		return r.scope
	}
	if leads, err := r.leads(); step.Scope == proc.ScopeGroup && (err != nil || !leads) {
		return proc.ScopeProcess
	}
	return step.Scope
}

// allowed refuses what the caller itself belongs to.
func (r *Run) allowed(scope proc.Scope) error {
	pid := r.ID.PID
	switch {
	case pid == 1:
		return fmt.Errorf("%v is init: never signalled", r.ID)
	case pid == r.own.PID && r.Process != nil:
		return fmt.Errorf("%v is %w process: never signalled", r.ID, errOwn)
	case slices.Contains(r.own.Supervisors, pid):
		return fmt.Errorf("%v is %w supervisor, or above it: never signalled", r.ID, errOwn)
	case scope != proc.ScopeGroup:
		return nil
	case pid == r.own.PGID:
		return fmt.Errorf("the process group of %v is %w: never signalled", r.ID, errOwn)
	}
	for _, supervisor := range r.own.Supervisors {
		if pgid, err := unix.Getpgid(supervisor); err == nil && pgid == pid {
			return fmt.Errorf("the process group of %v is that of %w supervisor: never signalled", r.ID, errOwn)
		}
	}
	return nil
}
