package schedule

import (
	"errors"
	"slices"
	"strings"

	"gracekit/lib/proc"
)

// findGroup lists the members of the target's process group.
func (r *Run) findGroup() ([]proc.ID, error) {
	all, err := r.scan.All()
	return r.led(all, func(s proc.Stat) bool { return s.PGID == r.ID.PID }), err
}

// led are the processes for which is holds, of those that can belong to the group
// or session that the target leads, or led.
//
// Group and session have the target's pid as their number. While either has
// members the kernel gives that number to no process, so another process with
// that pid means that they have ended. No member started before its leader.
func (r *Run) led(all []proc.Stat, is func(proc.Stat) bool) (found []proc.ID) {
	if other, err := proc.Open(r.ID.PID); err == nil {
		defer other.Close()
		if other.ID != r.ID {
			return nil
		}
	}
	for _, s := range all {
		if is(s) && !s.Ended() && s.Start >= r.ID.Start {
			found = append(found, s.ID())
		}
	}
	return found
}

// findTree lists the target, the members that were found before, and the
// descendants of all these, without those that the caller depends on: a watcher
// may be a child of what it watches.
func (r *Run) findTree() ([]proc.ID, error) {
	roots := r.roots()
	if len(roots) == 0 {
		return nil, nil
	}
	all, err := r.scan.All()
	return r.recordTree(all, roots), err
}

// roots are the processes whose descendants are searched.
func (r *Run) roots() []proc.ID {
	roots := r.alive()
	if r.lives() {
		roots = append(roots, r.ID)
	}
	return roots
}

func (r *Run) recordTree(all []proc.Stat, roots []proc.ID) []proc.ID {
	tree := proc.TreeOf(all, roots...)
	found := ids(slices.DeleteFunc(tree, func(s proc.Stat) bool { return s.ID() != r.ID && r.spared(s) }))
	r.record(found)
	return found
}

// findAll lists the target's group, its session, its tree, the processes that
// carry its mark, and what it found before. All processes are read once for that:
// on a machine with hundreds it is what a schedule costs.
func (r *Run) findAll() ([]proc.ID, error) {
	all, err := r.scan.All()
	if err != nil {
		return nil, err
	}
	led := r.led(all, func(s proc.Stat) bool {
		return (s.PGID == r.ID.PID || s.Session == r.ID.PID) && (s.ID() == r.ID || !r.spared(s))
	})
	if !r.listed {
		r.listed = true
		r.marked.owners = r.owners(led)
	}
	marked := r.findMarked(all)
	r.record(led)
	r.record(marked)
	r.recordTree(all, r.roots()) // of those just recorded, too
	return r.alive(), nil
}

// record adds to the members that were found.
func (r *Run) record(found []proc.ID) {
	for _, id := range found {
		if !slices.Contains(r.members, id) {
			r.members = append(r.members, id)
		}
	}
}

// alive lists the members that were found and have not ended.
func (r *Run) alive() []proc.ID {
	var found []proc.ID
	for _, id := range r.members {
		if alive(id) {
			found = append(found, id)
		}
	}
	return found
}

// alive tells whether this very process has not ended. A process that cannot be
// looked at any more may be alive.
func alive(id proc.ID) bool {
	p, err := proc.OpenID(id)
	if err == nil {
		p.Close()
	}
	return !errors.Is(err, proc.ErrGone)
}

// ids are the identities of processes.
func ids(stats []proc.Stat) []proc.ID {
	found := make([]proc.ID, len(stats))
	for i, s := range stats {
		found[i] = s.ID()
	}
	return found
}

// Describe lists processes in one line: identities, each with the name that ps
// prints.
func Describe(ids []proc.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strings.TrimSpace(id.String() + " " + nameOf(id))
	}
	return strings.Join(words, ", ")
}

// nameOf is the name of a process in ps; empty if it has ended.
func nameOf(id proc.ID) string {
	p, err := proc.OpenID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	name, _ := p.Name()
	return name
}
