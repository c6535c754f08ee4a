package proc

import "slices"

// ID is the identity of the process.
func (s Stat) ID() ID { return ID{s.PID, s.Start} }

// Ended tells whether only a zombie is left. Z with other threads is a process
// whose main thread ended first: it lives.
func (s Stat) Ended() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// Group lists the members of a process group that have not ended. Every
// process has to be looked at for that.
func (sc *Scanner) Group(pgid int) ([]Stat, error) {
	all, err := sc.All()
	return slices.DeleteFunc(all, func(s Stat) bool { return s.PGID != pgid || s.Ended() }), err
}

// TreeOf lists processes and their descendants that have not ended, parents
// first, out of a listing of all, which it puts in another order. Start times are
// compared: a process that has the pid of a root by now is not that root, and
// nothing starts before its parent. In a listing of all processes none is
// missed, as in /proc/PID/task/*/children some may be.
func TreeOf(all []Stat, roots ...ID) []Stat {
	found := 0 // all[:found] is the tree so far
	add := func(is func(Stat) bool) {
		for i := found; i < len(all); i++ {
			if is(all[i]) {
				all[found], all[i] = all[i], all[found]
				found++
			}
		}
	}
	add(func(s Stat) bool { return slices.Contains(roots, s.ID()) })
	for parent := 0; parent < found; parent++ {
		p := all[parent]
		add(func(s Stat) bool { return s.PPID == p.PID && s.Start >= p.Start })
	}
	return slices.DeleteFunc(all[:found], Stat.Ended)
}
