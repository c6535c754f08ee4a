package proc

import "slices"

// ID is the identity that a stat line tells.
func (s Stat) ID() ID { return ID{s.PID, s.Start} }

// Ended tells whether only a zombie is left. Z with other threads is a process
// whose main thread ended first: it lives.
func (s Stat) Ended() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// Group lists the members of a process group that have not ended. Every
// process has to be looked at for that. The slice is good until the next listing.
func (sc *Scanner) Group(pgid int) ([]Stat, error) {
	all, err := sc.All()
	return slices.DeleteFunc(all, func(s Stat) bool { return s.PGID != pgid || s.Ended() }), err
}

// Tree lists processes and their descendants that have not ended, parents
// first. Every process has to be looked at, so that none is missed, as
// /proc/PID/task/*/children may. The slice is good until the next listing.
func (sc *Scanner) Tree(roots ...ID) ([]Stat, error) {
	all, err := sc.All()
	found := 0 // all[:found] is the tree so far
	take := func(is func(Stat) bool) {
		for i := found; i < len(all); i++ {
			if is(all[i]) {
				all[found], all[i] = all[i], all[found]
				found++
			}
		}
	}
	take(func(s Stat) bool { return slices.Contains(roots, s.ID()) })
	for parent := 0; parent < found; parent++ {
		pid := all[parent].PID
		take(func(s Stat) bool { return s.PPID == pid })
	}
	return slices.DeleteFunc(all[:found], Stat.Ended), err
}
