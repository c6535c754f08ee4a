package fleet

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gracekit/lib/proc"
)

// Identity is how an instance calls itself: HOST:PID:NONCE, the nonce 12 hex
// digits, new at each start, the pid as in its own pid namespace.
type Identity struct {
	Text string
	Host string
	PID  int
}

// ParseIdentity reads an identity. A host may have colons in it.
func ParseIdentity(text string) (id Identity, ok bool) {
	rest, nonce, ok := cutLast(text)
	host, pid, okPID := cutLast(rest)
	n, err := proc.ParsePID(pid)
	ok = ok && okPID && err == nil && host != "" && len(nonce) == 12 && strings.Trim(nonce, "0123456789abcdef") == ""
	return Identity{text, host, n}, ok
}

func cutLast(text string) (before, after string, ok bool) {
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}

// clockSlop is how far a start time in clock ticks may be from one on the wall clock.
const clockSlop = 2 * time.Second

// Of finds the instance that a process of this machine is. The error is
// ErrAbsent, ErrDead or ErrAmbiguous, or why Redis gave no answer.
func (f *Fleet) Of(p *proc.Process) (string, error) {
	host, err := hostname(p)
	if err != nil {
		return "", err
	}
	pid, err := p.InnerPID()
	if err != nil {
		return "", err
	}
	all, err := f.members()
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(text string) bool {
		id, ok := ParseIdentity(text)
		return !ok || id.Host != host || id.PID != pid
	})
	found, err := f.look(all)
	if err != nil {
		return "", err
	}
	born := time.Now().Add(p.ID.StartTime() - proc.Now()) // on the wall clock, as started_at is
	var alive []string
	var dead, older *Instance
	for i, in := range found {
		switch {
		case in.Started.Before(born.Add(-clockSlop)): // one that had this pid before
			older = &found[i]
		case in.State() == Dead:
			dead = &found[i]
		default:
			alive = append(alive, in.Identity)
		}
	}
	name := host + ":" + strconv.Itoa(pid)
	switch {
	case len(alive) == 1:
		return alive[0], nil
	case len(alive) > 1:
		return "", fmt.Errorf("%w: %s: two hosts with one hostname?", ErrAmbiguous, strings.Join(alive, ", "))
	case dead != nil:
		return "", fmt.Errorf("%s: %w", dead.Identity, dead.silent())
	case older != nil && older.State() != Dead:
		return "", fmt.Errorf("%w: %s is older than this process, which boots (or its clock was set since)", ErrAbsent, older.Identity)
	}
	return "", fmt.Errorf("%w: there is no %s in %s: it boots, or has another Redis or namespace", ErrAbsent, name, f.where)
}

// hostname is what Sidekiq on that process calls its host.
func hostname(p *proc.Process) (string, error) {
	if dyno := os.Getenv("DYNO"); dyno != "" {
		return dyno, nil
	}
	return p.Hostname()
}
