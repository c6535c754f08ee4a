package main

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// watch is the one loop: it waits, in one ppoll, for a signal, for the end of
// the process or of its restart, or for the next check.
type watch struct {
	o       options
	log     events
	signals int // readable: gracewatch is to end
	scan    *proc.Scanner
	fds     [3]unix.PollFd

	process *proc.Process // nil: the service has none now
	limits  grace.Limits
	state   grace.State
	kb      int64         // at the last check
	check   time.Duration // when the next one is due
	misread int           // how many checks told nothing, one after the other

	restart *restart // nil: none is under way

	search  time.Duration // wait before the next look for a process of the service
	refused string        // why there is none, if that was told
}

func newWatch(o options, log events, signals int) *watch {
	return &watch{o: o, log: log, signals: signals, scan: proc.NewScanner()}
}

func (w *watch) close() {
	w.scan.Close()
	if w.process != nil {
		w.process.Close()
	}
}

// meet finds the process for the first time. What is refused now ends the
// program; later it may be a matter of time.
func (w *watch) meet(cmd *cli.Command) int {
	if w.o.soft.KB(1<<40) > w.o.hard.KB(1<<40) && !w.o.hard.IsZero() && w.o.soft.IsShare() == w.o.hard.IsShare() {
		cmd.Warn("--soft %v is above --hard %v: it will never matter", w.o.soft, w.o.hard)
	}
	p, err := w.o.target.Open()
	switch {
	case err == nil:
		if err := w.up(p); err != nil {
			return cmd.Refused(err)
		}
	case !errors.Is(err, proc.ErrGone):
		return cmd.Refused(err)
	case !w.o.follow:
		cmd.Warn("%v", err)
		return cli.No
	default:
		w.check = now()
	}
	limits := w.limits
	if w.process == nil { // shares are known when there is a process
		limits = grace.Limits{Soft: w.o.soft.KB(0), Hard: w.o.hard.KB(0), Grace: w.o.grace.Std()}
	}
	w.say(slog.LevelInfo, "watching", append(limitAttrs(limits), slog.Any("interval_s", seconds(w.o.interval.Std())))...)
	return cli.Continue
}

// up starts to watch a process.
func (w *watch) up(p *proc.Process) error {
	limits, err := w.o.limits(p.ID.PID)
	if err != nil {
		p.Close()
		return err
	}
	w.process, w.limits, w.state, w.kb = p, limits, grace.State{}, 0
	w.misread, w.refused, w.search = 0, "", 0
	w.check = now()
	return nil
}

// loop returns the exit code.
func (w *watch) loop() int {
	for {
		fds := w.wait()
		if _, err := proc.Poll(fds, w.timeout()); err != nil {
			w.say(slog.LevelError, "read-failed", slog.Any("err", err))
			return cli.Refused
		}
		switch {
		case fds[0].Revents != 0:
			return cli.Yes
		case w.restart != nil:
			if code := w.restartStep(); code != cli.Continue {
				return code
			}
		case w.process == nil:
			w.find()
		case fds[1].Revents != 0:
			w.gone()
			if !w.o.follow {
				return cli.No
			}
		case now() >= w.due():
			if code := w.look(); code != cli.Continue {
				return code
			}
		}
	}
}

// wait is what the loop waits for.
func (w *watch) wait() []unix.PollFd {
	w.fds[0] = unix.PollFd{Fd: int32(w.signals), Events: unix.POLLIN}
	n := 1
	if w.restart != nil && !w.restart.ended {
		w.fds[n] = w.restart.pollFd()
		n++
	} else if w.process != nil {
		w.fds[n] = w.process.PollFd()
		n++
	}
	return w.fds[:n]
}

// timeout is how long the loop may wait; negative: for ever.
func (w *watch) timeout() time.Duration {
	switch {
	case w.restart != nil && !w.restart.ended:
		return -1
	case w.restart != nil:
		return max(0, w.restart.settled-now())
	}
	return max(0, w.due()-now())
}

// due is when the next check is: at the interval, or when the grace time or the
// retry time is over, whichever comes first.
func (w *watch) due() time.Duration {
	if next, ok := w.state.Next(w.limits); ok && w.process != nil && w.misread == 0 {
		return min(w.check, next)
	}
	return w.check
}

// look is one check. It allocates nothing as long as nothing changes.
func (w *watch) look() int {
	at := now()
	interval := w.o.interval.Std()
	if w.check += interval; w.check < at { // late: the machine slept, or the check was early
		w.check = at + interval
	}
	usage, err := w.scan.Usage(w.process, w.o.scope, w.o.measure)
	kb := w.o.measure.Of(usage)
	if err == nil && kb == 0 {
		err = errNothing
	}
	if err != nil {
		w.unreadable(err)
		return cli.Continue
	}
	w.misread, w.kb = 0, kb
	before := w.state
	state, change := w.state.Step(w.limits, grace.Sample{At: at, KB: kb})
	w.state = state
	if change == (grace.Change{}) {
		return cli.Continue
	}
	w.tell(change, before, at)
	if change.Restart == "" {
		return cli.Continue
	}
	return w.begin(at)
}

// errNothing is a reading that cannot be true.
var errNothing = errors.New("0 KB is no size of a process that lives")

// unreadable is a check that told nothing: it is said once, and never acted on.
// Of a process that is ending, its end says it; one that stays so is told.
func (w *watch) unreadable(err error) {
	w.misread++
	ending := errors.Is(err, proc.ErrGone)
	if w.process.Ended() || ending && w.misread != 2 || !ending && w.misread != 1 {
		return
	}
	w.say(slog.LevelWarn, "read-failed", slog.Any("err", err))
}

// tell says what a check changed.
func (w *watch) tell(c grace.Change, before grace.State, at time.Duration) {
	if c.OverSoft {
		w.say(slog.LevelInfo, "over-soft", w.sizes(at)...)
	}
	if c.UnderSoft {
		attrs := append([]slog.Attr{slog.Int64("rss_kb", w.kb)}, limitAttrs(w.limits)...)
		w.say(slog.LevelInfo, "under-soft", append(attrs, slog.Any("over_s", seconds(at-before.Since)))...)
	}
	if c.OverHard {
		w.say(slog.LevelWarn, "over-hard", w.sizes(at)...)
	}
	if c.GraceOver {
		w.say(slog.LevelWarn, "grace-over", w.sizes(at)...)
	}
}

// sizes are what an event says of the process.
func (w *watch) sizes(at time.Duration) []slog.Attr {
	attrs := append([]slog.Attr{slog.Int64("rss_kb", w.kb)}, limitAttrs(w.limits)...)
	if w.state.Over {
		attrs = append(attrs, slog.Any("over_s", seconds(at-w.state.Since)))
	}
	if w.state.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(w.state.Reason)))
	}
	return attrs
}

// say is an event of the process that is watched.
func (w *watch) say(level slog.Level, event string, attrs ...slog.Attr) {
	var id proc.ID
	if w.process != nil {
		id = w.process.ID
	}
	w.log.say(level, event, id, attrs...)
}
