package sidekiq

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Lister lists the Sidekiqs of a target: what the supervisor started is often a
// shell, a lock or another parent, and the Sidekiq is below it. One Lister is
// for one caller that lists again and again.
type Lister struct {
	scan      *proc.Scanner
	target    proc.ID // the last target that was a Sidekiq itself
	heartbeat int     // the id of the thread that showed it
}

// NewLister is a Lister.
func NewLister() *Lister { return &Lister{scan: proc.NewScanner()} }

// List lists the Sidekiqs among the target and its descendants, parents first;
// none if there is none. If the target is a Sidekiq it is the only one: what is
// below it is of its jobs.
//
// A process that cannot be read is skipped, but the target's own threads and
// children must be readable. ErrGone if the target has ended.
func (l *Lister) List(target *proc.Process) (found []proc.ID, err error) {
	is, err := l.isSidekiq(target)
	if err != nil {
		return nil, unreadable(target, err)
	}
	if is {
		return []proc.ID{target.ID}, nil
	}
	// A job that forks has a copy of Sidekiq's program, title and signal handlers,
	// and whatever threads it starts then. It is not another Sidekiq until it
	// executes a program; nor is what it forks itself.
	forks := map[int]bool{} // the pids of Sidekiqs and of their forks
	err = l.scan.Walk(target, func(p *proc.Process, s proc.Stat) {
		if s.ForkedOnly() && forks[s.PPID] {
			forks[s.PID] = true
			return
		}
		if heartbeat, err := findHeartbeat(p, s); err == nil && heartbeat != 0 {
			forks[s.PID] = true
			found = append(found, p.ID)
		}
	})
	if err != nil {
		return nil, unreadable(target, err)
	}
	if target.Ended() {
		return nil, proc.ErrGone
	}
	return found, nil
}

// isSidekiq is IsSidekiq for the target of each listing. While the thread that
// showed it lives, it is a Sidekiq: an exec would have ended that thread. Signal 0
// asks for less than what a file of /proc costs. It is refused where the process is
// another user's, and the thread is searched for again.
func (l *Lister) isSidekiq(target *proc.Process) (bool, error) {
	if l.target == target.ID && l.heartbeat != 0 && unix.Tgkill(target.ID.PID, l.heartbeat, 0) == nil {
		return true, nil
	}
	s, err := target.Stat()
	if err != nil {
		return false, err
	}
	l.target = target.ID
	l.heartbeat, err = findHeartbeat(target, s)
	return l.heartbeat != 0, err
}

// IsSidekiq tells whether a process is a Sidekiq: it has a heartbeat thread.
// Its name and title prove nothing, as a fork inherits both, and one that boots
// has neither. ErrGone if it has ended.
func IsSidekiq(p *proc.Process) (bool, error) {
	s, err := p.Stat()
	if err != nil {
		return false, err
	}
	heartbeat, err := findHeartbeat(p, s)
	if err != nil {
		return false, unreadable(p, err)
	}
	return heartbeat != 0, nil
}

// findHeartbeat is the id of the heartbeat thread, or 0.
func findHeartbeat(p *proc.Process, s proc.Stat) (tid int, err error) {
	if s.Threads < 2 {
		return 0, nil
	}
	list, err := p.Threads()
	if err != nil {
		return 0, err
	}
	return recognise(s.PID, list).heartbeat, nil
}

// IsBooting tells whether the target, or one of its descendants, is a Sidekiq that
// has no heartbeat yet.
func (l *Lister) IsBooting(target *proc.Process) bool {
	booting := isBooting(target)
	l.scan.Walk(target, func(p *proc.Process, _ proc.Stat) { booting = booting || isBooting(p) })
	return booting
}

// isBooting tells a Sidekiq that has no heartbeat yet from another program: by the
// name of the process, or by the arguments of ruby and of bundle exec. A fork of a
// job has the name, too, but also a title, which is that of its parent.
func isBooting(p *proc.Process) bool {
	name, err := p.Name()
	if err != nil {
		return false
	}
	cmdline, _ := p.ReadFile("cmdline") // empty if it cannot be read
	if _, err := ParseTitle(cmdline); err != ErrNoTitle {
		return false
	}
	if name == "sidekiq" {
		return true
	}
	if !strings.HasPrefix(name, "ruby") && name != "bundle" {
		return false
	}
	for argument := range strings.SplitSeq(string(cmdline), "\x00") {
		if path.Base(argument) == "sidekiq" {
			return true
		}
	}
	return false
}

func unreadable(p *proc.Process, err error) error {
	if errors.Is(err, proc.ErrGone) {
		return err
	}
	return fmt.Errorf("cannot read /proc/%d/task: %w", p.ID.PID, err)
}
