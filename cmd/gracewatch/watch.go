package main

import (
	"errors"
	"log/slog"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// watch is the one loop: it waits, in one ppoll, for a signal, a command, the
// end of the process or of its restart, or for the next check.
type watch struct {
	o       options
	cmd     *cli.Command
	log     events
	signals int // readable: gracewatch is to end
	control *control
	scan    *proc.Scanner
	fds     [3]unix.PollFd

	target   *proc.Process // nil: the service has none now
	wards    []*ward       // what is watched: the target, or each of its children
	restart  *restart      // nil: none is under way
	held     hold          // why no restart of a child may begin yet
	streak   grace.Backoff
	paused   bool
	check    time.Duration // when the next one is due
	looks    int           // so many checks there have been
	round    int           // counts the looks at the children
	missing  bool          // that a child can't be watched was told
	machine  int64         // its memory and swap, KB
	code     []span        // where the binary is in memory
	oomScore string        // what gracewatch was started with, and prog gets
	file     stateFile
	resume   record        // what the state file said at the start
	search   time.Duration // wait before the next look for a process of the service
	refused  string        // why there is none, if that was told
	finished int           // what ended --once
}

const never = time.Duration(math.MaxInt64)

func newWatch(o options, cmd *cli.Command, log events, signals int) *watch {
	return &watch{o: o, cmd: cmd, log: log, signals: signals, scan: proc.NewScanner(),
		machine: machineKB(), code: ownCode(), oomScore: readOOMScore(), finished: cli.Continue}
}

func (w *watch) close() {
	w.drop()
	w.scan.Close()
	w.file.close()
	if w.control != nil {
		w.control.close()
	}
}

// loop returns the exit code.
func (w *watch) loop() int {
	for at := proc.Now(); ; at = proc.Now() {
		fds := w.wait()
		if _, err := proc.Poll(fds, w.timeout(at)); err != nil {
			return w.cmd.Refused(err)
		}
		if fds[0].Revents != 0 {
			return cli.Yes
		}
		code := w.step(fds[1].Revents != 0, fds[2].Revents != 0)
		w.save()
		if code != cli.Continue {
			return code
		}
	}
}

// step takes what has happened: commands have come, the process, or the prog of
// its restart, has ended, or time has passed.
func (w *watch) step(told, ended bool) int {
	if told {
		if code := w.obey(); code != cli.Continue {
			return code
		}
	}
	at := proc.Now()
	if w.control != nil {
		w.silent(at)
	}
	if w.restart != nil {
		if code := w.restartStep(); code != cli.Continue {
			return code
		}
		ended = w.restart == nil && w.target.Ended()
	}
	switch {
	case w.target == nil:
		if at >= w.check {
			w.find()
		}
	case ended:
		w.gone()
		if !w.o.follow {
			return cli.No
		}
	case at >= w.due():
		if code := w.look(at); code != cli.Continue {
			return code
		}
	}
	if w.o.once && w.restart == nil {
		return w.onceCode()
	}
	return cli.Continue
}

// wait is what the loop waits for: the first is the signals, the second the commands.
func (w *watch) wait() []unix.PollFd {
	w.fds[0] = unix.PollFd{Fd: int32(w.signals), Events: unix.POLLIN}
	w.fds[1] = unix.PollFd{Fd: -1} // ppoll passes over it
	if w.control != nil {
		w.fds[1] = w.control.pollFd()
	}
	switch {
	case w.restart != nil:
		w.fds[2] = w.restart.pollFd()
	case w.target != nil:
		w.fds[2] = w.target.PollFd()
	default:
		w.fds[2] = unix.PollFd{Fd: -1}
	}
	return w.fds[:]
}

// timeout is how long the loop may wait; negative: for ever.
func (w *watch) timeout(now time.Duration) time.Duration {
	at := w.due()
	if w.restart != nil {
		at = w.restart.due()
		if w.o.scope == proc.ScopeChildren && w.target != nil && !w.target.Ended() {
			at = min(at, w.check)
		}
	}
	if w.control != nil {
		at = min(at, w.control.due())
	}
	if at == never {
		return -1
	}
	return max(0, at-now)
}

// due is when the next check is: at the interval, or when the grace time or the
// retry time is over, whichever comes first.
func (w *watch) due() time.Duration {
	at := w.check
	switch {
	case w.paused, w.target == nil, w.restart != nil:
		return at
	case w.held.count > 0:
		return min(at, w.held.until)
	}
	for _, d := range w.wards {
		if next, ok := d.state.Next(d.limits); ok && d.misread.since == 0 {
			at = min(at, next)
		}
	}
	return at
}

// look is one check. It allocates nothing as long as nothing changes.
func (w *watch) look(at time.Duration) int {
	w.plan(at)
	if w.looks++; w.looks%1000 == 0 {
		w.forgetCode() // what is needed once in an hour does not stay
	}
	if w.paused {
		return cli.Continue
	}
	if w.o.scope == proc.ScopeChildren {
		w.children()
	}
	w.held.see(len(w.wards), at)
	if w.held.count > 0 { // the next waits for the parent, and not for the interval
		w.check = min(w.check, at+time.Second)
	}
	for _, d := range w.wards {
		if code := w.lookAt(d, at); code != cli.Continue {
			return code
		}
	}
	return cli.Continue
}

// plan sets the time of the next check. One that was late, for the machine
// slept, or early, for something was due, starts the interval anew.
func (w *watch) plan(at time.Duration) {
	interval := w.o.interval.Std()
	switch {
	case interval == 0 || w.paused:
		w.check = never
	case at < w.check, at-w.check > interval:
		w.check = later(at, interval)
	default:
		w.check = later(w.check, interval)
	}
}

// later is at plus d, or never.
func later(at, d time.Duration) time.Duration {
	if d > never-at {
		return never
	}
	return at + d
}

// lookAt reads one process and does what its timer says.
func (w *watch) lookAt(d *ward, at time.Duration) int {
	if w.restart != nil && w.restart.ward == d {
		return cli.Continue
	}
	usage, err := w.scan.Usage(d.process, w.readScope(), w.o.measure)
	kb := w.o.measure.Sum(usage)
	switch {
	case err == nil && kb == 0:
		err = errNothing
	case err == nil && kb > w.machine && w.readScope() == proc.ScopeProcess: // a sum counts what is shared more than once
		err = errTooMuch
	}
	if err != nil {
		w.unreadable(d, err, at)
		return cli.Continue
	}
	d.misread, d.kb = misread{}, kb
	before := d.state
	state, change := d.state.Step(d.limits, grace.Sample{At: at, KB: kb, Hold: w.restart != nil || w.held.count > 0})
	d.state = state
	if !state.Over && !state.OverHard && w.streak.Early > 0 {
		if streak := w.streak.Stays(d.process.ID.StartTime(), at); streak != w.streak {
			w.streak, w.file.dirty = streak, true
		}
	}
	if change == (grace.Change{}) {
		return cli.Continue
	}
	w.tell(d, change, before, at)
	w.file.dirty = true
	if change.Restart == "" {
		return cli.Continue
	}
	return w.begin(d, before, at)
}

// readScope is what is added up for one ward.
func (w *watch) readScope() proc.Scope {
	if w.o.scope == proc.ScopeChildren {
		return proc.ScopeProcess
	}
	return w.o.scope
}

// Readings that cannot be true.
var (
	errNothing = errors.New("0 KB is no size of a process that lives")
	errTooMuch = errors.New("larger than all the memory of the machine")
)

// unreadable is a check that told nothing: it is said once, and never acted on.
// Of a process that is ending, its end says it; one that stays so is told.
func (w *watch) unreadable(d *ward, err error, at time.Duration) {
	if d.misread.since == 0 {
		d.misread.since = at
	}
	if w.o.interval == 0 { // nobody may ask again, and something may be due
		w.check = min(w.check, later(at, time.Second))
	}
	ending := errors.Is(err, proc.ErrGone) && at-d.misread.since < settle
	if d.misread.said || ending || d.process.Ended() {
		return
	}
	d.misread.said = true
	w.say(d, slog.LevelWarn, "read-failed", slog.Any("err", err))
}

// tell says what a check changed.
func (w *watch) tell(d *ward, c grace.Change, before grace.State, at time.Duration) {
	if c.OverSoft {
		w.say(d, slog.LevelInfo, "over-soft", d.sizes(at, "")...)
	}
	if c.UnderSoft {
		attrs := append([]slog.Attr{slog.Int64("rss_kb", d.kb)}, limitAttrs(d.limits, at-before.Since)...)
		w.say(d, slog.LevelInfo, "under-soft", attrs...)
	}
	if c.OverHard {
		w.say(d, slog.LevelWarn, "over-hard", d.sizes(at, c.Restart)...)
	}
	if c.GraceOver {
		w.say(d, slog.LevelWarn, "grace-over", d.sizes(at, c.Restart)...)
	}
}

// say is an event of a ward, or, with nil, of the target.
func (w *watch) say(d *ward, level slog.Level, event string, attrs ...slog.Attr) {
	var id proc.ID
	switch {
	case d != nil:
		id = d.process.ID
	case w.target != nil:
		id = w.target.ID
	}
	w.log.say(level, event, id, attrs...)
}

// onceCode is the exit code of one check.
func (w *watch) onceCode() int {
	switch {
	case w.finished != cli.Continue:
		return w.finished
	case w.target == nil:
		return cli.No
	case len(w.o.prog) == 0:
		return cli.No // not time for it
	}
	return cli.Yes
}
