package schedule

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Run is a schedule against one target.
type Run struct {
	ID      proc.ID       // the target
	Process *proc.Process // the target, nil if it has ended: what belongs to it may be alive
	Alone   bool          // signal the process, not its group, and wait for it alone
	Caught  bool          // send a signal only to processes that have a handler for it

	Warn, Info func(format string, args ...any)

	own     proc.Own
	scan    *proc.Scanner
	leads   bool       // the target leads a process group
	scope   proc.Scope // what is waited for: the target's, widened by what was signalled
	members []proc.ID  // the processes of a tree, or of all, that were found so far
	listed  bool       // all was listed once
	marked  marked
}

// List records the members of ScopeAll: the target's group, its session, its
// tree and the processes that carry its mark. Do lists them itself before its
// first signal. A caller that ends the target by other means calls List before
// that, because a descendant with a session of its own cannot be found by its
// parents afterwards. The error is a refusal to signal the target, or that the
// processes cannot be listed.
func (r *Run) List() error {
	defer r.open()()
	if err := r.allowed(proc.ScopeAll); err != nil {
		return err
	}
	_, err := r.findAll()
	return err
}

// open finds out what the caller depends on, and gets ready to list processes.
func (r *Run) open() (end func()) {
	r.own = proc.Self()
	r.scan = proc.NewScanner()
	return r.scan.Close
}

// Do runs the schedule. It returns what is left of the target after the last
// wait: nothing if the schedule ends in a signal and that was sent. An error is
// a refusal: nothing more was signalled.
func (r *Run) Do(s Schedule) (left []proc.ID, err error) {
	defer r.open()()
	if err := r.allowed(proc.ScopeProcess); err != nil { // before any message about it
		return nil, err
	}
	if err := r.resolveScope(s); err != nil {
		return nil, err
	}
	for _, step := range s.Steps { // before the first signal
		if err := r.allowed(r.scopeOf(step)); err != nil {
			return nil, err
		}
	}
	if !r.listed && slices.ContainsFunc(s.Steps, func(step Step) bool { return r.scopeOf(step) == proc.ScopeAll }) {
		if _, err := r.findAll(); err != nil {
			return nil, err
		}
	}
	sent := false
	for i := 0; i < len(s.Steps); i++ {
		step := s.Steps[i]
		scope := r.scopeOf(step)
		if scope == proc.ScopeAll { // what is waited for includes all that it can find
			r.scope = scope
		}
		if i > 0 || scope == r.scope { // a first signal with a scope of its own may find what is not waited for
			if ended, err := r.ended(); err != nil || ended {
				return nil, err
			}
		}
		if sent, err = r.send(step.Signal, scope); err != nil {
			return nil, err
		}
		if step.Waits && (sent || i >= s.Repeat) { // a step that reached no process needs no wait, unless it is repeated forever
			ended, err := r.wait(step.deadline())
			if err != nil || ended {
				return nil, err
			}
		}
		if i == len(s.Steps)-1 {
			i = s.Repeat - 1
		}
	}
	if last := s.Steps[len(s.Steps)-1]; sent && !last.Waits {
		return nil, nil // whether the processes end is not waited for
	}
	return r.left()
}

// resolveScope decides what the signals without a scope of their own go to, and
// what is waited for at first. If the target leads no process group, the one that
// it is in belongs to another process, most likely its supervisor.
func (r *Run) resolveScope(s Schedule) error {
	r.leads = true // or did, if it has ended
	if r.Process != nil {
		stat, err := r.Process.Stat()
		if ignoreGone(err) != nil {
			return err
		}
		r.leads = err != nil || stat.PGID == stat.PID
	}
	r.scope = proc.ScopeGroup
	if r.Alone || !r.leads {
		r.scope = proc.ScopeProcess
	}
	if !r.Alone && !r.leads && slices.ContainsFunc(s.Steps, func(step Step) bool { return !step.Scoped || step.Scope == proc.ScopeGroup }) {
		r.Warn("%v leads no process group: only the process itself is signalled (start it with pgexec or chpst -P)", r.ID)
	}
	return nil
}

// scopeOf is what a step signals.
func (r *Run) scopeOf(step Step) proc.Scope {
	switch {
	case !step.Scoped:
		return r.scope
	case step.Scope == proc.ScopeGroup && !r.leads:
		return proc.ScopeProcess
	}
	return step.Scope
}

// allowed refuses what the caller itself depends on.
func (r *Run) allowed(scope proc.Scope) error {
	pid := r.ID.PID
	switch {
	case pid == 1:
		return fmt.Errorf("cannot signal %v: it is init, which is never signalled", r.ID)
	case pid == r.own.PID && r.Process != nil:
		return fmt.Errorf("cannot signal %v: it is the caller's own process", r.ID)
	case slices.Contains(r.own.Supervisors, pid):
		return fmt.Errorf("cannot signal %v: it is the caller's own supervisor, or above that", r.ID)
	case scope != proc.ScopeGroup && scope != proc.ScopeAll:
		return nil
	case pid == r.own.PGID:
		return fmt.Errorf("cannot signal the process group of %v: it is the caller's own", r.ID)
	}
	for _, supervisor := range r.own.Supervisors {
		if pgid, err := unix.Getpgid(supervisor); err == nil && pgid == pid {
			return fmt.Errorf("cannot signal the process group of %v: it is that of the caller's own supervisor", r.ID)
		}
	}
	return nil
}

// spared tells whether the caller depends on a process: it is in the caller's
// own process group, or above it.
func (r *Run) spared(s proc.Stat) bool {
	return s.PGID == r.own.PGID || slices.Contains(r.own.Above, s.PID)
}

// lives tells whether the target itself has not ended.
func (r *Run) lives() bool { return r.Process != nil && !r.Process.Ended() }
