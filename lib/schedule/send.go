package schedule

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// send sends one signal, and CONT after TERM, so that a stopped process can
// end. It tells whether the signal went to anybody.
func (r *Run) send(sig unix.Signal, scope proc.Scope) (sent bool, err error) {
	r.Info("%s to %s %v", Name(sig), scope, r.ID)
	switch scope {
	case proc.Alone:
		sent, err = r.toProcess(sig)
	case proc.Group:
		r.scope = proc.Group
		sent, err = r.toGroup(sig)
	case proc.Tree:
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
	return err == nil, ignoreGone(err)
}

// toGroup signals all members in one step where the kernel can, so that none
// that is being forked is missed.
func (r *Run) toGroup(sig unix.Signal) (sent bool, err error) {
	if r.Process != nil && !r.Caught {
		err := r.Process.SignalGroup(sig)
		if err != proc.ErrNoGroupSignal {
			return err == nil, ignoreGone(err)
		}
	}
	return r.toEach(sig, r.groupMembers, nil)
}

// toEach signals those that list finds, and those they fork meanwhile, each
// once. They are added to kept, or closed.
func (r *Run) toEach(sig unix.Signal, list func() ([]proc.Stat, error), kept *[]*proc.Process) (sent bool, err error) {
	var seen []proc.ID
	var denied error
	for found := true; found; {
		found = false
		members, err := list()
		if err != nil {
			return sent, err
		}
		for _, m := range members {
			if slices.Contains(seen, m.ID()) {
				continue
			}
			found = true
			seen = append(seen, m.ID())
			p, err := proc.OpenID(m.ID())
			if err != nil {
				denied = errors.Join(denied, ignoreGone(err))
				continue
			}
			ok, err := r.toOne(p, sig)
			sent = sent || ok
			denied = errors.Join(denied, err)
			if kept != nil && !slices.ContainsFunc(*kept, func(k *proc.Process) bool { return k.ID == p.ID }) {
				*kept = append(*kept, p)
			} else {
				p.Close()
			}
		}
	}
	if sent && denied != nil {
		r.Warn("not all of %v could be signalled: %v", r.ID, denied)
		denied = nil
	}
	return sent, denied
}

func ignoreGone(err error) error {
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	return err
}
