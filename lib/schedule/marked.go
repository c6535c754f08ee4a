package schedule

import (
	"errors"
	"os"
	"slices"
	"time"

	"gracekit/lib/proc"
)

// marked is what is known of the processes that may carry the target's mark.
type marked struct {
	owners     []int            // the users whose processes count; empty: not known, any
	unmarked   map[proc.ID]bool // read before: no process gets the mark after its start, but by pgexec itself
	unreadable bool             // this was logged
}

// owners are the users that the target runs as: its own uid or, when it has
// ended, those of the members of its group and session. An ordinary user can
// signal only processes of its own.
func (r *Run) owners(led []proc.ID) (uids []int) {
	if r.lives() {
		if s, err := r.Process.Status(); err == nil {
			return []int{s.UID}
		}
	}
	for _, id := range led {
		if p, err := proc.OpenID(id); err == nil {
			if s, err := p.Status(); err == nil && !slices.Contains(uids, s.UID) {
				uids = append(uids, s.UID)
			}
			p.Close()
		}
	}
	if len(uids) == 0 && os.Geteuid() != 0 {
		uids = []int{os.Geteuid()}
	}
	return uids
}

// findMarked lists those of all processes that carry the mark which pgexec put into the
// target's environment, wherever they went. A mark is inherited by whatever a
// service starts, so it counts only for a process of the target's user that
// started after the target, is under no supervisor of its own, and is not one
// that the caller depends on.
func (r *Run) findMarked(all []proc.Stat) (found []proc.ID) {
	mark := r.ID.Mark()
	if r.marked.unmarked == nil {
		r.marked.unmarked = map[proc.ID]bool{}
	}
	for _, s := range all {
		id := s.ID()
		switch {
		case s.Ended(), s.Kernel(), s.Start < r.ID.Start, id == r.ID, r.spared(s), r.marked.unmarked[id], slices.Contains(r.members, id):
		case r.scan.LacksMark(s.PID, mark):
			r.marked.unmarked[id] = true
		case r.hasMark(id) && !r.supervised(s, all):
			found = append(found, id)
		}
	}
	return found
}

// hasMark tells whether a process of the target's user carries its mark.
func (r *Run) hasMark(id proc.ID) bool {
	p, err := proc.OpenID(id)
	if err != nil { // it has ended, or belongs to another user under hidepid
		return false
	}
	defer p.Close()
	s, err := p.Status()
	if err != nil || len(r.marked.owners) > 0 && !slices.Contains(r.marked.owners, s.UID) {
		return false
	}
	environ, err := environOf(p)
	switch {
	case errors.Is(err, proc.ErrGone):
		return false
	case err != nil:
		r.warnUnreadable(err)
		return false
	case slices.Contains(environ, r.ID.Mark()):
		return true
	}
	r.marked.unmarked[id] = true
	return false
}

// environOf is the environment of a process. For a moment within execve(2) a
// process has none, so an empty one is read again before it is believed.
func environOf(p *proc.Process) (environ []string, err error) {
	for try := 0; try < 5; try++ {
		if environ, err = p.Environ(); err != nil || len(environ) > 0 {
			return environ, err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return environ, nil
}

// warnUnreadable logs once that marks cannot be read. It is a warning only where
// the process is known to be one of the target's user.
func (r *Run) warnUnreadable(err error) {
	log := r.Warn
	if len(r.marked.owners) == 0 {
		log = r.Info
	}
	if !r.marked.unreadable {
		r.marked.unreadable = true
		log("%v: such processes are found by group, session and tree alone (is CAP_SYS_PTRACE missing?)", err)
	}
}

// supervisors are the programs under which a process belongs to a service of its own.
var supervisors = []string{"runsv", "runsvdir", "s6-supervise", "s6-svscan"}

// supervised tells whether a process is a supervisor, or is below one that is
// not above the target: a service that was started from inside another one, by a
// deployment agent for example, carries that one's mark.
func (r *Run) supervised(s proc.Stat, all []proc.Stat) bool {
	byPID := make(map[int]proc.Stat, len(all))
	for _, s := range all {
		byPID[s.PID] = s
	}
	for known := true; known && s.ID() != r.ID && s.PID != 1; s, known = byPID[s.PPID] {
		if slices.Contains(supervisors, nameOf(s.ID())) {
			return true
		}
	}
	return false
}
