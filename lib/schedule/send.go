package schedule

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// send sends one signal, and CONT after TERM, so that a stopped process can
// end. It tells whether the signal went to anybody.
func (r *Run) send(sig unix.Signal, scope proc.Scope) (sent bool, err error) {
	r.Info("%s to %s %v", Name(sig), scope, r.ID)
	switch scope {
	case proc.ScopeProcess:
		sent, err = r.toProcess(sig)
	case proc.ScopeGroup:
		r.scope = proc.ScopeGroup
		sent, err = r.toGroup(sig)
	case proc.ScopeTree:
		if sig == unix.SIGKILL { // one that forks between the look and the signal would leave an orphan
			if _, err := r.toEach(unix.SIGSTOP, r.treeMembers, &r.tree); err != nil {
				return false, err
			}
		}
		sent, err = r.toEach(sig, r.treeMembers, &r.tree)
	}
	if err == nil && !sent && r.Caught {
		r.Warn("%s left out: no handler for it in %v", Name(sig), r.ID)
	}
	if err != nil || !sent || sig != unix.SIGTERM {
		return sent, err
	}
	caught := r.Caught
	r.Caught = false // nobody needs a handler to go on
	_, err = r.send(unix.SIGCONT, scope)
	r.Caught = caught
	return sent, err
}

func (r *Run) toProcess(sig unix.Signal) (sent bool, err error) {
	if r.Process == nil {
		return false, nil
	}
	return r.toOne(r.Process, sig)
}

// toOne signals one process. That it has just ended is no error.
func (r *Run) toOne(p *proc.Process, sig unix.Signal) (sent bool, err error) {
	if r.Caught {
		s, err := p.Status()
		if err != nil || !s.Catches(sig) {
			return false, ignoreGone(err)
		}
	}
	err = p.Signal(sig)
	return err == nil, r.about(p.ID, err)
}

// about names the process that an error is of. That it has just ended is none.
func (r *Run) about(id proc.ID, err error) error {
	if ignoreGone(err) == nil {
		return nil
	}
	return fmt.Errorf("%v: %w", id, err)
}

// toGroup signals all members in one step where the kernel can, so that none
// that is being forked is missed.
func (r *Run) toGroup(sig unix.Signal) (sent bool, err error) {
	if r.Process != nil && !r.Caught {
		err := r.Process.SignalGroup(sig)
		if err != proc.ErrNoGroupSignal {
			return err == nil, r.about(r.ID, err)
		}
	}
	return r.toEach(sig, r.groupMembers, nil)
}

// toEach signals those that list finds, and those they fork meanwhile, each
// once. One that forks for ever would keep it from ever coming to the wait, but
// for the signals that end that.
func (r *Run) toEach(sig unix.Signal, list func() ([]proc.Stat, error), seen *[]proc.ID) (sent bool, err error) {
	var denied error
	var now []proc.ID
	final := sig == unix.SIGKILL || sig == unix.SIGSTOP
	for round, found := 0, true; found && (final || round < 3); round++ {
		found = false
		members, err := list()
		if err != nil {
			return sent, err
		}
		for _, m := range members {
			if slices.Contains(now, m.ID()) {
				continue
			}
			found = true
			now = append(now, m.ID())
			ok, err := r.toID(m.ID(), sig)
			sent = sent || ok
			if denied == nil {
				denied = err
			}
		}
	}
	for _, id := range now {
		if seen != nil && !slices.Contains(*seen, id) {
			*seen = append(*seen, id)
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
