package proc

import (
	"bytes"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Walk calls visit for each descendant of p that has not ended, for a parent
// before its children. A descendant that cannot be read is left out, with all
// that is below it. The error is that of p itself: ErrGone if it has ended.
//
// The process that visit is given is open for reading only: it has no pidfd, so
// that it can be neither signalled nor waited for, and it is closed when visit
// returns. Walk costs what the tree is large, not what the machine is.
func (sc *Scanner) Walk(p *Process, visit func(p *Process, s Stat)) error {
	if !hasChildrenFiles() {
		return sc.walkByScan(p, visit)
	}
	s, err := p.Stat()
	if err != nil {
		return err
	}
	return sc.walk(p, s, visit)
}

func (sc *Scanner) walk(p *Process, s Stat, visit func(p *Process, s Stat)) error {
	return sc.walkChildren(p, s, func(child *Process, s Stat) {
		visit(child, s)
		sc.walk(child, s, visit) // one that ends meanwhile has no descendants any more
	})
}

// hasChildrenFiles tells whether the kernel was built with CONFIG_PROC_CHILDREN.
var hasChildrenFiles = sync.OnceValue(func() bool {
	return unix.Access("/proc/thread-self/children", unix.F_OK) == nil
})

// walkChildren calls visit for each child of p that has not ended.
//
// A child that is reaped while the kernel makes the list can hide others behind
// it in the list (proc_pid_children(5)). It was in the list before them, so a
// list that names a child that is gone now is read again.
func (sc *Scanner) walkChildren(p *Process, s Stat, visit func(p *Process, s Stat)) error {
	var visited []int
	for range 3 {
		pids, err := p.childPIDs(s)
		if err != nil {
			return err
		}
		complete := true
		for _, pid := range pids {
			if slices.Contains(visited, pid) {
				continue
			}
			child, s, err := sc.openForReading(pid)
			if err == nil && s.PPID == p.ID.PID && !s.Ended() {
				visited = append(visited, pid)
				visit(child, s)
			}
			complete = complete && err == nil
			child.Close()
		}
		if complete {
			break
		}
	}
	return nil
}

// childPIDs reads /proc/PID/task/*/children: each thread has its own children.
func (p *Process) childPIDs(s Stat) (pids []int, err error) {
	tids := []int{s.PID}
	if s.Threads > 1 {
		if tids, err = p.threadIDs(); err != nil {
			return nil, err
		}
	}
	for _, tid := range tids {
		text, err := p.ReadFile("task/" + strconv.Itoa(tid) + "/children")
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range bytes.Fields(text) {
			if pid, err := strconv.Atoi(string(word)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// walkByScan is Walk for a kernel that does not list children: it reads the
// parent of every process that there is.
func (sc *Scanner) walkByScan(p *Process, visit func(p *Process, s Stat)) error {
	all, err := sc.All()
	if err != nil {
		return err
	}
	for _, s := range TreeOf(all, p.ID) {
		if s.ID() == p.ID {
			continue
		}
		descendant, now, err := sc.openForReading(s.PID)
		if err == nil && now.Start == s.Start {
			visit(descendant, now)
		}
		descendant.Close()
	}
	if p.Ended() {
		return ErrGone
	}
	return nil
}
