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
	// atOnce is how soon after the start of its heartbeat thread a Sidekiq writes its start, if the machine has time for
	// it and its clock was not set since; and apart is how much further away the start of another instance must then be.
	atOnce, apart = 500 * time.Millisecond, time.Second
)

// self is what is known of a local process that is a Sidekiq.
type self struct {
	pid     int         // in its own pid namespace
	host    string      // empty: unknown, for noHost
	noHost  error       // why
	noted   string      // the identity in the note of the job hook, or ""
	started time.Time   // not later than what it wrote as its start
	threads []time.Time // the start of its heartbeat thread, or, where threads have no names, of all
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
	if note, ok := readNote(p); ok {
		s.noted = note.Identity
		return s, nil
	}
	threads, err := heartbeatStarts(p)
	if err != nil {
		return s, err
	}
	boot := time.Now().Add(-proc.Now())
	for _, since := range threads {
		s.threads = append(s.threads, boot.Add(since))
	}
	s.started = slices.MinFunc(s.threads, time.Time.Compare)
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
// the one whose start is nearest to that of its heartbeat thread. The hostname chooses among several, since a container on
// another host may have the same pid.
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
	var dead, earlier *Instance
	for i, in := range found {
		switch {
		case in.Started.Before(s.started.Add(-clockSlop)): // it had this pid before
			if in.State() != Dead && ofHost(in) {
				earlier = &found[i]
			}
		case in.State() == Dead:
			if in.Known && ofHost(in) {
				dead = &found[i]
			}
		default:
			alive = append(alive, in)
		}
	}
	candidates := slices.DeleteFunc(slices.Clone(alive), func(in Instance) bool { return !ofHost(in) })
	if len(candidates) == 0 { // its hostname is not the one that it calls itself by
		slop := startSlop
		if len(s.threads) > 1 {
			slop = atOnce
		}
		candidates = slices.DeleteFunc(alive, func(in Instance) bool { return s.distance(in) > slop })
	}
	slices.SortFunc(candidates, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(s.distance(a), s.distance(b)), cmp.Compare(a.Identity, b.Identity))
	})
	why := ""
	if s.noHost != nil {
		why = fmt.Sprintf("; its hostname, which would decide, cannot be read (%v; without CAP_SYS_PTRACE that of another user's container cannot)", s.noHost)
	}
	switch {
	case len(candidates) == 0 && dead != nil:
		return "", fmt.Errorf("%s: %w", dead.Identity, dead.errDead())
	case len(candidates) == 0 && earlier != nil:
		return "", fmt.Errorf("%w: none with pid %d that started when it did (%s has its pid and hostname, but started %v before it: is it of another host, "+
			"or was the clock set?)", ErrAbsent, s.pid, earlier.Identity, s.started.Sub(earlier.Started).Round(time.Second))
	case len(candidates) == 0:
		return "", fmt.Errorf("%w: none with pid %d that started when it did (another Redis, database or --namespace?)%s", ErrAbsent, s.pid, why)
	case len(candidates) > 1 && !s.isNearer(candidates[0], candidates[1]):
		return "", fmt.Errorf("%w: %s, %s%s", ErrAmbiguous, candidates[0].Identity, candidates[1].Identity, why)
	}
	return candidates[0].Identity, nil
}

// distance is how far the start of an instance is from that of the heartbeat thread, or of what may be that thread.
func (s self) distance(in Instance) time.Duration {
	nearest := in.Started.Sub(s.started).Abs()
	for _, thread := range s.threads {
		nearest = min(nearest, in.Started.Sub(thread).Abs())
	}
	return nearest
}

// isNearer tells whether the first of two instances is so much nearer that the process must be that one.
func (s self) isNearer(first, second Instance) bool {
	further := s.distance(second) - s.distance(first)
	return further > clockSlop || further >= apart && s.distance(first) <= atOnce
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

// heartbeatStarts is when, after boot of the machine, the heartbeat thread of a Sidekiq has started. Where it is not known which
// thread that is (those of JRuby have no names of their own), it is the start of each, and a handler for TSTP shows that
// Sidekiq has booted, if the heartbeat thread does not follow it at once.
func heartbeatStarts(p *proc.Process) (since []time.Duration, err error) {
	for until := time.Now().Add(handlersFirst); ; time.Sleep(50 * time.Millisecond) {
		threads, err := p.Threads()
		if err != nil {
			return nil, err
		}
		since := startTimes(p, slices.DeleteFunc(slices.Clone(threads), func(thread proc.Thread) bool {
			return thread.TID == p.ID.PID || thread.Name != "heartbeat" && thread.Name != "sidekiq.heartbe"
		}))
		if len(since) > 0 {
			return since[:1], nil
		}
		status, err := p.Status()
		if err != nil {
			return nil, err
		}
		switch {
		case !status.Catches(unix.SIGTSTP):
			return nil, ErrBooting
		case time.Now().After(until):
			return append(startTimes(p, threads), p.ID.StartTime()), nil
		}
	}
}

// startTimes is when threads have started, but for those that have ended, after boot of the machine.
func startTimes(p *proc.Process, threads []proc.Thread) (since []time.Duration) {
	for _, thread := range threads {
		text, err := p.ReadFile("task/" + strconv.Itoa(thread.TID) + "/stat")
		if err != nil {
			continue
		}
		if s, err := proc.ParseStat(text); err == nil {
			since = append(since, s.ID().StartTime())
		}
	}
	return since
}
