package main

import (
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/units"
)

// restart is a prog that runs.
type restart struct {
	ward     *ward
	prog     *proc.Process
	cmd      *exec.Cmd // nil: an earlier gracewatch started it, and how it ends is not known
	ended    bool
	settled  time.Duration // until then the process may take to end after prog has
	deadline time.Duration // prog is told to end; never: it may take what it takes
	told     bool          // that it has been told
	children int           // that the target had when it began
}

// settle is how long a process may take to end after prog has exited 0: one
// that prog signalled is on its way, and much memory is not given back in no time.
const settle = 5 * time.Second

// due is when there is something to do without an event.
func (r *restart) due() time.Duration {
	if r.ended {
		return r.settled
	}
	return r.deadline
}

// pollFd is what its next step waits for: its end, and then that of the process.
func (r *restart) pollFd() unix.PollFd {
	if r.ended {
		return r.ward.process.PollFd()
	}
	return r.prog.PollFd()
}

// reap takes the end of prog.
func (r *restart) reap() {
	r.ended = true
	if r.cmd != nil {
		r.cmd.Wait()
	}
	if r.cmd == nil || r.cmd.ProcessState.Success() {
		r.settled = proc.Now() + settle
	}
}

// begin runs prog, or says that it would. Without one it is the caller's turn.
func (w *watch) begin(d *ward, before grace.State, at time.Duration) int {
	attrs := d.sizes(at, d.state.Reason)
	switch why := w.refusal(); {
	case why != "":
		w.putOff(d, slog.String("why", why))
		return cli.Continue
	case !before.Committed && w.delayed(d, at): // one that may be quiet is never held back
		return cli.Continue
	case w.o.dryRun:
		w.say(d, slog.LevelWarn, "restart-begin", append(attrs, slog.Bool("dry_run", true))...)
		d.state = d.state.PutOff(d.limits, at)
		w.finished = cli.Yes
		return cli.Continue
	case len(w.o.prog) == 0:
		d.state = d.state.Delayed(0) // what the caller makes of it is not known: the next check tells anew
		d.state.Committed = false
		return cli.Yes
	}
	w.say(d, slog.LevelWarn, "restart-begin", attrs...)
	w.save() // a gracewatch that is killed now begins it again
	r, err := w.start(d, at)
	if err != nil {
		w.failed(d, err.Error())
		return cli.Continue
	}
	w.restart, w.file.dirty = r, true
	return cli.Continue
}

// refusal is why a restart would leave the service down: its operator wins.
func (w *watch) refusal() string {
	if !w.o.follow {
		return ""
	}
	switch wish, err := w.o.target.WantedState(); {
	case err != nil:
		return err.Error()
	case wish.Paused:
		return "the service is paused"
	case !wish.Up:
		return "the service is wanted down"
	}
	return ""
}

// delayed holds a restart back whose limit is below the footprint of the process.
func (w *watch) delayed(d *ward, at time.Duration) bool {
	if !d.early() {
		return false
	}
	until, tooLow := w.streak.NotBefore(d.process.ID.StartTime())
	if tooLow && !d.tooLow {
		d.tooLow = true
		attrs := append(d.sizes(at, d.state.Reason), slog.Int64("fits_kb", d.kb+d.kb/2), slog.Any("wait_s", seconds(max(0, until-at))),
			slog.String("why", "three times running it was over a limit within a minute of its start: raise the limit"))
		w.say(d, slog.LevelError, "limit-too-low", attrs...)
	}
	if at >= until {
		return false
	}
	d.state = d.state.Delayed(until)
	return true
}

// start starts prog in a session of its own: it goes on if gracewatch ends.
func (w *watch) start(d *ward, at time.Duration) (*restart, error) {
	argv := cli.Expand(w.o.prog, d.process.ID.String())
	file, _, err := cli.Find(argv[0])
	if err != nil {
		return nil, err
	}
	r := &restart{ward: d, children: len(w.wards), deadline: never, cmd: &exec.Cmd{
		Path:        file,
		Args:        argv,
		Env:         append(os.Environ(), w.environment(d, at)...),
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}}
	spare, err := proc.Open(os.Getpid()) // a prog that could not be watched is not started
	if err != nil {
		return nil, err
	}
	spare.Close()
	if err := w.asStarted(r.cmd.Start); err != nil {
		return nil, err
	}
	if r.prog, err = proc.Open(r.cmd.Process.Pid); err != nil { // it has ended already
		r.reap()
	}
	w.limit(r)
	return r, nil
}

// limit sets the time that prog may take.
func (w *watch) limit(r *restart) {
	if !w.o.dryRun && w.o.progTimeout > 0 && w.o.progTimeout < units.Never {
		r.deadline = proc.Now() + w.o.progTimeout.Std()
	}
}

func (w *watch) environment(d *ward, at time.Duration) []string {
	most, service, over := d.limits.Soft, "", time.Duration(0)
	if d.state.Reason == grace.Hard {
		most = d.limits.Hard
	}
	if w.o.follow {
		service = w.o.target.Text
	}
	if d.state.Over {
		over = at - d.state.Since
	}
	return []string{
		"GRACE_TARGET=" + d.process.ID.String(),
		"GRACE_SERVICE=" + service,
		"GRACE_REASON=" + string(d.state.Reason),
		"GRACE_RSS_KB=" + strconv.FormatInt(d.kb, 10),
		"GRACE_LIMIT_KB=" + strconv.FormatInt(most, 10),
		"GRACE_OVER_SECONDS=" + strconv.FormatInt(int64(over/time.Second), 10),
	}
}

// restartStep sees to a restart that is under way.
func (w *watch) restartStep() int {
	r := w.restart
	if !r.ended {
		if !r.prog.Ended() {
			w.hurry(r)
			return cli.Continue
		}
		r.prog.Close()
		r.reap()
	}
	gone := r.ward.process.Ended()
	if !gone && proc.Now() < r.settled {
		return cli.Continue
	}
	w.restart, w.file.dirty = nil, true
	defer w.rest()
	return w.finish(r, gone)
}

// hurry ends a prog that takes longer than it may: TERM to its group, and KILL
// a little later.
func (w *watch) hurry(r *restart) {
	if proc.Now() < r.deadline {
		return
	}
	sig := unix.SIGTERM
	if r.told {
		sig = unix.SIGKILL
	}
	r.told, r.deadline = true, proc.Now()+5*time.Second
	w.cmd.Error("the program has not ended within --prog-timeout %v: %s to its group", w.o.progTimeout, schedule.Name(sig))
	run := schedule.Run{ID: r.prog.ID, Process: r.prog, Warn: w.cmd.Warn, Info: w.cmd.Info}
	if _, err := run.Do(schedule.Once(sig)); err != nil {
		w.cmd.Error("%v", err)
	}
}

// finish takes how prog ended.
func (w *watch) finish(r *restart, gone bool) int {
	d, at := r.ward, proc.Now()
	known := r.cmd != nil
	if gone && w.o.scope == proc.ScopeChildren { // its parent gets time to put another in its place
		w.held = hold{until: later(at, d.limits.Retry), count: r.children}
		w.check = at
	}
	switch {
	case gone && (!known || r.cmd.ProcessState.Success()):
		w.say(d, slog.LevelInfo, "restart-done", slog.String("reason", string(d.state.Reason)))
		w.done(d, at)
		d.state = grace.State{} // it is over: the next gracewatch must not count it again
		w.finished = cli.Yes
		if !w.o.follow && w.o.scope != proc.ScopeChildren {
			return cli.Yes
		}
	case !known: // begun by an earlier gracewatch, and it came to no end
		d.state = d.state.Again()
		w.check = at
	case r.cmd.ProcessState.Success():
		w.failed(d, "the program exited 0, but the process lives")
	case r.cmd.ProcessState.ExitCode() == cli.No && !r.told:
		w.putOff(d)
	default:
		w.failed(d, "the program ended with "+r.cmd.ProcessState.String())
	}
	return cli.Continue
}

// putOff is a restart that may not be now.
func (w *watch) putOff(d *ward, why ...slog.Attr) {
	attrs := append([]slog.Attr{slog.String("reason", string(d.state.Reason))}, why...)
	w.say(d, slog.LevelInfo, "restart-postponed", append(attrs, slog.Any("retry_s", seconds(d.limits.Retry)))...)
	d.state = d.state.PutOff(d.limits, proc.Now())
	w.finished = cli.No
}

// done counts a restart.
func (w *watch) done(d *ward, at time.Duration) {
	if r := d.state.Reason; r == grace.Soft || r == grace.Hard || r == grace.Legacy {
		w.streak = w.streak.Restarted(d.process.ID.StartTime(), d.over(), at)
	}
}

func (w *watch) failed(d *ward, why string) {
	w.say(d, slog.LevelError, "restart-failed", slog.String("reason", string(d.state.Reason)), slog.String("err", why),
		slog.Any("retry_s", seconds(d.limits.Retry)))
	d.state = d.state.Failed(d.limits, proc.Now())
	w.finished = cli.Refused
}
