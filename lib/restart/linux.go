package restart

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/sidekiq"
	"gracekit/lib/units"
)

// linux is the system that there is.
type linux struct {
	config Config
	target *live
	lister *sidekiq.Lister
	all    schedule.Run
	opened []*proc.Process
}

func newLinux(c Config) *linux {
	return &linux{
		config: c,
		target: newLive(c.Target, c),
		lister: sidekiq.NewLister(),
		all:    schedule.Run{ID: c.Target.ID, Process: c.Target, Warn: c.Warn, Info: func(string, ...any) {}},
	}
}

func (l *linux) close() {
	for _, p := range l.opened {
		p.Close()
	}
}

func (l *linux) Now() time.Duration { return proc.Now() }

func (l *linux) Target() process { return l.target }

func (l *linux) Sleep(until time.Duration, processes []process) {
	var fds []unix.PollFd
	for _, p := range processes {
		fds = append(fds, p.(*live).p.PollFd())
	}
	timeout := time.Duration(-1)
	if until != never {
		timeout = max(0, until-proc.Now())
	}
	proc.Poll(fds, timeout)
}

// Sidekiqs opens those that are not open yet.
func (l *linux) Sidekiqs() ([]process, error) {
	ids, err := l.lister.List(l.config.Target)
	if err != nil {
		return nil, err
	}
	var found []process
	for _, id := range ids {
		if id == l.config.Target.ID {
			return []process{l.target}, nil
		}
		p, err := proc.OpenID(id)
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", id, err)
		}
		l.opened = append(l.opened, p)
		found = append(found, newLive(p, l.config))
	}
	return found, nil
}

func (l *linux) ListAll() error { return l.all.List() }

// CleanUp ends what is left of all that belongs to the target.
func (l *linux) CleanUp() (left []proc.ID, err error) {
	step := schedule.Step{Signal: unix.SIGTERM, Scope: proc.ScopeAll, Scoped: true, Waits: true, Wait: units.Duration(cleanUpTime)}
	kill := step
	kill.Signal, kill.Wait = unix.SIGKILL, units.Duration(killTime)
	return l.all.Do(schedule.Schedule{Steps: []schedule.Step{step, kill}, Repeat: 2})
}

// live is a process of the system.
type live struct {
	p      *proc.Process
	watch  *sidekiq.Watch
	config Config
	name   string
	answer <-chan error // of Redis; nil: it was not asked
}

func newLive(p *proc.Process, c Config) *live {
	name := p.ID.String()
	if comm, _ := p.Name(); comm != "" { // a process that has just ended has none
		name = fmt.Sprintf("%v (%s)", p.ID, comm)
	}
	return &live{p: p, watch: sidekiq.NewWatch(p), config: c, name: name}
}

func (l *live) String() string           { return l.name }
func (l *live) ID() proc.ID              { return l.p.ID }
func (l *live) Ended() bool              { return l.p.Ended() }
func (l *live) Values() Values           { return l.config.Values(l.p) }
func (l *live) KB() (int64, error)       { return l.config.Size(l.p) }
func (l *live) Send(s unix.Signal) error { return l.p.Signal(s) }

func (l *live) Catches(sig unix.Signal) (bool, error) {
	status, err := l.p.Status()
	return status.Catches(sig), err
}

func (l *live) IsStopped() bool {
	s, err := l.p.Stat()
	return err == nil && s.State == 'T'
}

func (l *live) IsBooting() bool {
	_, err := l.watch.Check()
	return errors.Is(err, sidekiq.ErrBooting)
}

func (l *live) AskRedis() bool {
	if l.config.AskRedis != nil {
		l.answer = l.config.AskRedis(l.p)
	}
	return l.answer != nil
}

func (l *live) Idle() (idle, quiet bool, err error) {
	if l.answer != nil {
		select {
		case err := <-l.answer:
			return err == nil, err == nil, err
		default:
			return false, false, nil
		}
	}
	s, err := l.watch.Now() // an answer at once, and not with the next check
	return s.Idle, s.Stopping, err
}
