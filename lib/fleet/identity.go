package fleet

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Identity is how an instance calls itself: HOST:PID:NONCE. The nonce is 12 hex
// digits, new at each start; the pid is that of its own pid namespace.
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

const (
	// clockSlop is how far a start time in clock ticks may be from one on the wall clock.
	clockSlop = 2 * time.Second
	// startSlop is how long after its heartbeat thread a Sidekiq may have written its start where the hostname does not
	// confirm that it is this one: at its first heartbeat, which comes at once unless Redis is away.
	startSlop = 10 * time.Second
)

// self is what is known of a local process that is a Sidekiq.
type self struct {
	pid     int       // in its own pid namespace
	host    string    // empty: unknown, for noHost
	noHost  error     // why
	noted   string    // the identity in the note of the job hook, or ""
	started time.Time // not later than what it wrote as its start
	exact   bool      // started is that of its heartbeat thread
}

// Resolve finds the instance that a Sidekiq of this machine is. ErrGone if the process has ended; ErrDead, ErrAbsent or
// ErrAmbiguous if Redis does not know it, or not it alone; ErrBooting if it is not a Sidekiq yet.
func (f *Fleet) Resolve(p *proc.Process) (string, error) {
	s, err := describe(p)
	if err != nil {
		return "", err
	}
	all, err := f.members()
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(text string) bool {
		id, ok := ParseIdentity(text)
		return !ok || id.PID != s.pid
	})
	found, err := f.read(all)
	if err != nil {
		return "", err
	}
	id, err := s.choose(found)
	if err != nil {
		err = fmt.Errorf("%w in %s", err, f.where)
	}
	return id, err
}

// describe reads what a local process is known by.
func describe(p *proc.Process) (s self, err error) {
	if s.pid, err = p.InnerPID(); err != nil {
		return s, err
	}
	if note, ok := ReadNote(p); ok {
		s.noted = note.Identity
		return s, nil
	}
	since, exact, err := serving(p)
	if err != nil {
		return s, err
	}
	s.started, s.exact = time.Now().Add(since-proc.Now()), exact
	if s.host = os.Getenv("DYNO"); s.host != "" {
		return s, nil
	}
	if s.host, s.noHost = p.Hostname(); s.noHost != nil {
		if p.Ended() {
			return s, proc.ErrGone
		}
		if depth, err := namespaceDepth(p); err == nil && depth == ownDepth() {
			s.host, s.noHost = os.Hostname() // it is not in a container of its own, as far as can be seen
		}
	}
	return s, nil
}

// choose is the instance that the process is, among those with its pid: one that did not start before it, and of these
// the one that started first. The hostname chooses among several, since a container on another host may have the same pid.
//
// The note of its job hook decides where there is one.
func (s self) choose(found []Instance) (string, error) {
	if s.noted != "" {
		for i := range found {
			if in := &found[i]; in.Identity == s.noted {
				if in.State() == Dead {
					return "", fmt.Errorf("%s: %w", in.Identity, in.errDead())
				}
				return in.Identity, nil
			}
		}
		return "", fmt.Errorf("%w: %s, as its job hook noted", ErrAbsent, s.noted)
	}
	ofHost := func(in Instance) bool { id, _ := ParseIdentity(in.Identity); return id.Host == s.host }
	var alive []Instance
	var dead *Instance
	for i, in := range found {
		switch {
		case in.Started.Before(s.started.Add(-clockSlop)): // it had this pid before
		case in.State() == Dead:
			if in.known && ofHost(in) {
				dead = &found[i]
			}
		default:
			alive = append(alive, in)
		}
	}
	candidates := slices.DeleteFunc(slices.Clone(alive), func(in Instance) bool { return !ofHost(in) })
	if len(candidates) == 0 && s.exact { // its hostname is not the one that it calls itself by
		candidates = slices.DeleteFunc(alive, func(in Instance) bool { return in.Started.After(s.started.Add(startSlop)) })
	}
	slices.SortFunc(candidates, func(a, b Instance) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Identity, b.Identity))
	})
	why := ""
	if s.noHost != nil {
		why = fmt.Sprintf("; its hostname, which would decide, cannot be read (%v; without CAP_SYS_PTRACE that of another user's container cannot)", s.noHost)
	}
	switch {
	case len(candidates) == 0 && dead != nil:
		return "", fmt.Errorf("%s: %w", dead.Identity, dead.errDead())
	case len(candidates) == 0:
		return "", fmt.Errorf("%w: none with pid %d that started when it did (another Redis, database or --namespace?)%s", ErrAbsent, s.pid, why)
	case len(candidates) > 1 && candidates[1].Started.Sub(candidates[0].Started) <= clockSlop:
		return "", fmt.Errorf("%w: %s, %s%s", ErrAmbiguous, candidates[0].Identity, candidates[1].Identity, why)
	}
	return candidates[0].Identity, nil
}

// namespaceDepth is in how many nested pid namespaces, ours and those below it, the process has a pid.
func namespaceDepth(p *proc.Process) (int, error) {
	text, err := p.ReadFile("status")
	if err != nil {
		return 0, err
	}
	return countNSpid(string(text)), nil
}

func ownDepth() int {
	text, _ := os.ReadFile("/proc/self/status")
	return countNSpid(string(text))
}

func countNSpid(status string) int {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(rest))
		}
	}
	return 1
}

// ErrBooting is the error of a process that is not a Sidekiq, or not yet: it has no heartbeat thread.
var ErrBooting = fmt.Errorf("not a Sidekiq, or one that is still booting: it has no heartbeat thread")

// handlersFirst is how long the heartbeat thread may come after the signal handlers.
const handlersFirst = 3 * time.Second

// serving is since when, after boot of the machine, the process has been a Sidekiq: since the start of its heartbeat
// thread. Without CLOCK ticks of that thread (JRuby has no names of threads) it is the start of the process, and a
// handler for TSTP shows that it has booted, if the heartbeat thread does not follow it at once.
func serving(p *proc.Process) (since time.Duration, exact bool, err error) {
	for until := time.Now().Add(handlersFirst); ; time.Sleep(50 * time.Millisecond) {
		since, ok, err := heartbeatSince(p)
		if err != nil || ok {
			return since, ok, err
		}
		status, err := p.Status()
		if err != nil {
			return 0, false, err
		}
		switch {
		case !status.Catches(unix.SIGTSTP):
			return 0, false, ErrBooting
		case time.Now().After(until):
			return p.ID.StartTime(), false, nil
		}
	}
}

// heartbeatSince is the start of the heartbeat thread, after boot of the machine.
func heartbeatSince(p *proc.Process) (since time.Duration, ok bool, err error) {
	threads, err := p.Threads()
	if err != nil {
		return 0, false, err
	}
	for _, thread := range threads {
		if thread.TID == p.ID.PID || thread.Name != "heartbeat" && thread.Name != "sidekiq.heartbe" {
			continue
		}
		text, err := p.ReadFile("task/" + strconv.Itoa(thread.TID) + "/stat")
		if err != nil {
			continue // the thread has ended
		}
		s, err := proc.ParseStat(text)
		if err != nil {
			return 0, false, err
		}
		return proc.ID{PID: s.PID, Start: s.Start}.StartTime(), true, nil
	}
	return 0, false, nil
}
