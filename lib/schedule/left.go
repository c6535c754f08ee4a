package schedule

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// groupMembers lists those that can be of the target's group: the group has
// its number, and the number is still its own. While a group has members the
// kernel gives its number to no process, so another process with that pid means
// that the group is gone, and none of it started before its leader.
func (r *Run) groupMembers() ([]proc.Stat, error) {
	members, err := r.scan.Group(r.ID.PID)
	if err != nil {
		return nil, err
	}
	if taken, err := proc.Open(r.ID.PID); err == nil {
		defer taken.Close()
		if taken.ID != r.ID {
			return nil, nil
		}
	}
	return slices.DeleteFunc(members, func(s proc.Stat) bool { return s.Start < r.ID.Start }), nil
}

// treeMembers lists the target, those that a signal to the tree went to before,
// and the descendants of all these, without those that the caller needs: a
// watcher may be a child of what it watches.
func (r *Run) treeMembers() ([]proc.Stat, error) {
	var roots []int
	if r.Process != nil && !r.Process.Ended() {
		roots = append(roots, r.ID.PID)
	}
	for _, id := range r.tree {
		if lives(id) {
			roots = append(roots, id.PID)
		}
	}
	if len(roots) == 0 {
		return nil, nil
	}
	tree, err := r.scan.Tree(roots...)
	return slices.DeleteFunc(tree, func(s proc.Stat) bool {
		return s.PID != r.ID.PID && (s.PGID == r.own.PGID || slices.Contains(r.own.Above, s.PID))
	}), err
}

// gone tells whether nothing is left. While the leader lives the others need no look.
func (r *Run) gone() (bool, error) {
	if r.Process != nil && !r.Process.Ended() {
		return false, nil
	}
	left, err := r.left()
	return len(left) == 0, err
}

// left lists what lives of the target.
func (r *Run) left() (left []proc.ID, err error) {
	if r.Process != nil && !r.Process.Ended() {
		left = append(left, r.ID)
	}
	for _, id := range r.tree {
		if id != r.ID && lives(id) {
			left = append(left, id)
		}
	}
	if r.scope != proc.ScopeGroup {
		return left, nil
	}
	members, err := r.groupMembers()
	for _, m := range members {
		if !slices.Contains(left, m.ID()) {
			left = append(left, m.ID())
		}
	}
	return left, err
}

// wait waits until nothing is left; false if the deadline came first. A zero
// deadline never comes.
func (r *Run) wait(deadline time.Time) (gone bool, err error) {
	if r.Process != nil && !pollEnd([]*proc.Process{r.Process}, deadline) {
		return false, nil
	}
	for { // the others are looked for when the leader has ended: that costs a look at every process
		left, err := r.left()
		if err != nil || len(left) == 0 {
			return err == nil, err
		}
		if ended, err := pollEndOf(left[:min(len(left), 16)], deadline); err != nil || !ended {
			return false, err
		}
	}
}

// lives tells whether this very process has not ended.
func lives(id proc.ID) bool {
	p, err := proc.OpenID(id)
	if err == nil {
		p.Close()
	}
	return err == nil
}

// pollEndOf is pollEnd for those that are not open.
func pollEndOf(ids []proc.ID, deadline time.Time) (ended bool, err error) {
	var open []*proc.Process
	defer func() {
		for _, p := range open {
			p.Close()
		}
	}()
	for _, id := range ids {
		p, err := proc.OpenID(id)
		if ignoreGone(err) != nil {
			return false, err
		}
		if err == nil {
			open = append(open, p)
		}
	}
	return pollEnd(open, deadline), nil
}

// pollEnd waits until all have ended; false if the deadline came first.
func pollEnd(processes []*proc.Process, deadline time.Time) bool {
	var fds []unix.PollFd
	for _, p := range processes {
		fds = append(fds, p.PollFd())
	}
	for len(fds) > 0 {
		timeout := time.Duration(-1)
		if !deadline.IsZero() {
			timeout = proc.Until(deadline)
		}
		n, err := proc.Poll(fds, timeout)
		if n == 0 || err != nil {
			return false
		}
		fds = slices.DeleteFunc(fds, func(fd unix.PollFd) bool { return fd.Revents != 0 })
	}
	return true
}
