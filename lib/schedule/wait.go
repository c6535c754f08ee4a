package schedule

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// ended tells whether nothing is left. While the target lives the others need
// not be looked for.
func (r *Run) ended() (bool, error) {
	if r.lives() {
		return false, nil
	}
	left, err := r.left()
	return len(left) == 0, err
}

// left lists what has not ended, of the target and of what was signalled.
func (r *Run) left() (left []proc.ID, err error) {
	if r.lives() {
		left = append(left, r.ID)
	}
	found := r.alive()
	switch {
	case r.scope == proc.ScopeGroup:
		var group []proc.ID
		group, err = r.findGroup()
		found = append(found, group...)
	case r.scope == proc.ScopeAll:
		found, err = r.findAll()
	}
	for _, id := range found {
		if !slices.Contains(left, id) {
			left = append(left, id)
		}
	}
	return left, err
}

// wait waits until nothing is left; false if the deadline came first. A zero
// deadline never comes.
func (r *Run) wait(deadline time.Time) (ended bool, err error) {
	if r.Process != nil && !pollEnd([]*proc.Process{r.Process}, deadline) {
		return false, nil
	}
	for { // the others are looked for when the target has ended, because that reads all of /proc
		left, err := r.left()
		if err != nil || len(left) == 0 {
			return err == nil, err
		}
		if ended, err := pollEndOf(left[:min(len(left), 16)], deadline); err != nil || !ended {
			return false, err
		}
	}
}

// pollEndOf is pollEnd for processes that are not open.
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
