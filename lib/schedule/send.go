package schedule

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// send sends one signal, and CONT after TERM, so that a stopped process can
// end. It tells whether any process was signalled.
func (r *Run) send(sig unix.Signal, scope proc.Scope) (sent bool, err error) {
	r.Info("%s to %s %v", Name(sig), describe(scope), r.ID)
	switch scope {
	case proc.ScopeProcess:
		sent, err = r.toProcess(sig)
	case proc.ScopeGroup:
		if r.scope != proc.ScopeAll {
			r.scope = proc.ScopeGroup
		}
		sent, err = r.toGroup(sig)
	case proc.ScopeTree:
		sent, err = r.toEachAtOnce(sig, r.findTree)
	case proc.ScopeAll:
		sent, err = r.toEachAtOnce(sig, r.findAll)
	}
	if err == nil && !sent && r.Caught {
		r.Warn("%s not sent to %v: it has no handler for that signal", Name(sig), r.ID)
	}
	if err != nil || !sent || sig != unix.SIGTERM {
		return sent, err
	}
	caught := r.Caught
	r.Caught = false // a process goes on without a handler
	_, err = r.send(unix.SIGCONT, scope)
	r.Caught = caught
	return sent, err
}

func describe(scope proc.Scope) string {
	if scope == proc.ScopeAll {
		return "all of"
	}
	return scope.String()
}

func (r *Run) toProcess(sig unix.Signal) (sent bool, err error) {
	if r.Process == nil {
		return false, nil
	}
	return r.toOne(r.Process, sig)
}

// toOne signals one process. That it has just ended is not an error.
func (r *Run) toOne(p *proc.Process, sig unix.Signal) (sent bool, err error) {
	if r.Caught {
		s, err := p.Status()
		if err != nil || !s.Catches(sig) {
			return false, ignoreGone(err)
		}
	}
	err = p.Signal(sig)
	return err == nil, cannotSignal(p.ID, err)
}

// cannotSignal names the process that could not be signalled. That it has just
// ended is not an error.
func cannotSignal(id proc.ID, err error) error {
	if ignoreGone(err) == nil {
		return nil
	}
	return fmt.Errorf("cannot signal %v: %w", id, err)
}

// toGroup signals all members in one step where the kernel can, so that none
// that is being forked is missed.
func (r *Run) toGroup(sig unix.Signal) (sent bool, err error) {
	if r.Process != nil && !r.Caught {
		err := r.Process.SignalGroup(sig)
		if err != proc.ErrNoGroupSignal {
			return err == nil, cannotSignal(r.ID, err)
		}
	}
	return r.toEach(sig, r.findGroup)
}

// toEachAtOnce is toEach, but stops all processes before it kills any: one that
// forks between the listing and its signal would leave an orphan.
func (r *Run) toEachAtOnce(sig unix.Signal, find func() ([]proc.ID, error)) (sent bool, err error) {
	if sig == unix.SIGKILL {
		if _, err := r.toEach(unix.SIGSTOP, find); err != nil {
			return false, err
		}
	}
	return r.toEach(sig, find)
}

// toEach signals the processes that find lists, and those that they fork
// meanwhile, each once. A process that forks without end would keep it from ever
// coming to the wait, so it gives up after three rounds, except with the signals
// that put an end to the forking.
func (r *Run) toEach(sig unix.Signal, find func() ([]proc.ID, error)) (sent bool, err error) {
	var denied error
	signalled := map[proc.ID]bool{}
	final := sig == unix.SIGKILL || sig == unix.SIGSTOP
	for round, found := 0, true; found && (final || round < 3); round++ {
		found = false
		ids, err := find()
		if err != nil {
			return sent, err
		}
		for _, id := range ids {
			if signalled[id] {
				continue
			}
			found = true
			signalled[id] = true
			ok, err := r.toID(id, sig)
			sent = sent || ok
			if denied == nil {
				denied = err
			}
		}
	}
	if sent && denied != nil {
		r.Warn("not all of %v could be signalled: %v", r.ID, denied)
		denied = nil
	}
	return sent, denied
}

// toID signals one process that is not open.
func (r *Run) toID(id proc.ID, sig unix.Signal) (sent bool, err error) {
	p, err := proc.OpenID(id)
	if err != nil {
		return false, ignoreGone(err)
	}
	defer p.Close()
	return r.toOne(p, sig)
}

func ignoreGone(err error) error {
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	return err
}
