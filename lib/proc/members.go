package proc

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ID is the identity that a stat line tells.
func (s Stat) ID() ID { return ID{s.PID, s.Start} }

// Ended tells whether only a zombie is left. Z with other threads is a process
// whose main thread ended first: it lives.
func (s Stat) Ended() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// Group lists the members of a process group that have not ended. Every
// process has to be looked at for that. The slice is good until the next listing.
func (sc *Scanner) Group(pgid int) ([]Stat, error) {
	all, err := sc.all()
	return slices.DeleteFunc(all, func(s Stat) bool { return s.PGID != pgid || s.Ended() }), err
}

// Tree lists processes and their descendants that have not ended, parents
// first. Every process has to be looked at, so that none is missed, as
// /proc/PID/task/*/children may. The slice is good until the next listing.
func (sc *Scanner) Tree(roots ...int) ([]Stat, error) {
	all, err := sc.all()
	found := 0 // all[:found] is the tree so far
	take := func(is func(Stat) bool) {
		for i := found; i < len(all); i++ {
			if is(all[i]) {
				all[found], all[i] = all[i], all[found]
				found++
			}
		}
	}
	take(func(s Stat) bool { return slices.Contains(roots, s.PID) })
	for parent := 0; parent < found; parent++ {
		pid := all[parent].PID
		take(func(s Stat) bool { return s.PPID == pid })
	}
	return slices.DeleteFunc(all[:found], Stat.Ended), err
}

// Usage adds up, in KB, what is wanted of the processes of a scope (ScopeProcess,
// ScopeGroup or ScopeTree). Those beside p that end meanwhile, or can't be read, count
// as nothing. ErrGone if p has ended.
func (sc *Scanner) Usage(p *Process, scope Scope, want Field) (Usage, error) {
	p.buf = sc.member.buf // one for all: a watcher may hold hundreds of processes
	sum, err := p.Memory(want)
	var self Stat
	if err == nil && scope == ScopeGroup {
		self, err = p.Stat()
	}
	sc.member.buf, p.buf = p.buf, nil
	if err != nil || scope == ScopeProcess {
		return sum, err
	}
	if scope == ScopeTree {
		err = sc.addDescendants(&sum, p, want)
		return sum, err
	}
	members, err := sc.Group(self.PGID)
	for _, m := range members {
		if m.PID == p.ID.PID {
			continue
		}
		if sc.enter(m.PID) {
			sum.add(sc.memory(want))
			sc.leave()
		}
	}
	return sum, err
}

// enter opens the directory of a process beside the watched one, so that all
// that is read until leave is of the same process.
func (sc *Scanner) enter(pid int) bool {
	dir, err := openat(sc.proc, sc.path(pid, nameDot), unix.O_PATH|unix.O_DIRECTORY)
	sc.member.dir, sc.member.statm, sc.member.status = dir, -1, -1
	return err == nil
}

func (sc *Scanner) leave() {
	for _, fd := range [...]int{sc.member.dir, sc.member.statm, sc.member.status} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// memory is that of the process that was entered; nothing if it can't be read.
func (sc *Scanner) memory(want Field) Usage {
	u, err := sc.member.Memory(want)
	if err != nil {
		return Usage{}
	}
	return u
}

// Children lists the children of a process that have not ended.
func (sc *Scanner) Children(p *Process) ([]Stat, error) {
	if err := sc.open(); err != nil {
		return nil, err
	}
	if !hasChildrenFiles() {
		all, err := sc.all()
		return slices.DeleteFunc(all, func(s Stat) bool { return s.PPID != p.ID.PID || s.Ended() }), err
	}
	var err error
	sc.pids, err = sc.appendChildren(sc.pids[:0], p.dir)
	sc.stats = sc.stats[:0]
	for _, pid := range sc.pids {
		if s, err := sc.stat(pid); err == nil && s.PPID == p.ID.PID && !s.Ended() {
			sc.stats = append(sc.stats, s)
		}
	}
	return sc.stats, err
}

// addDescendants adds the memory of all below p. It costs what the tree is
// large, not what the machine is.
func (sc *Scanner) addDescendants(sum *Usage, p *Process, want Field) error {
	if err := sc.open(); err != nil {
		return err
	}
	if !hasChildrenFiles() {
		return sc.addDescendantsByScan(sum, p, want)
	}
	var err error
	sc.pids, err = sc.appendChildren(sc.pids[:0], p.dir)
	for i := 0; i < len(sc.pids); i++ {
		if !sc.enter(sc.pids[i]) {
			continue
		}
		sum.add(sc.memory(want))
		// The children of one that ends just now are somebody else's.
		sc.pids, _ = sc.appendChildren(sc.pids, sc.member.dir)
		sc.leave()
	}
	return err
}

func (sc *Scanner) addDescendantsByScan(sum *Usage, p *Process, want Field) error {
	tree, err := sc.Tree(p.ID.PID)
	for _, s := range tree {
		if s.PID == p.ID.PID || !sc.enter(s.PID) {
			continue
		}
		sum.add(sc.memory(want))
		sc.leave()
	}
	return err
}

// hasChildrenFiles tells whether the kernel was built with CONFIG_PROC_CHILDREN.
var hasChildrenFiles = sync.OnceValue(func() bool {
	return unix.Access("/proc/thread-self/children", unix.F_OK) == nil
})

// appendChildren reads /proc/PID/task/*/children.
func (sc *Scanner) appendChildren(pids []int, dir int) ([]int, error) {
	task, err := openat(dir, nameTask, unix.O_DIRECTORY)
	if err != nil {
		return pids, gone(err)
	}
	defer unix.Close(task)
	err = sc.eachNumber(task, func(tid int) {
		fd, err := openat(task, sc.path(tid, nameChildren), 0)
		if err != nil {
			return // the thread has ended
		}
		text, err := sc.buf.read(fd, true)
		unix.Close(fd)
		for err == nil && len(text) > 0 {
			pid, rest, ok := cutUint(text)
			if !ok || len(rest) == 0 {
				return
			}
			pids, text = append(pids, int(pid)), rest[1:]
		}
	})
	return pids, err
}
