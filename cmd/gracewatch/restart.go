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
)

// restart is a prog that runs.
type restart struct {
	cmd     *exec.Cmd
	pidfd   int
	ended   bool
	settled time.Duration // until then the process may take to end after a prog that exits 0
}

func (r *restart) pollFd() unix.PollFd { return unix.PollFd{Fd: int32(r.pidfd), Events: unix.POLLIN} }

// begin runs prog, or says that it would. Without one it is the caller's turn.
func (w *watch) begin(at time.Duration) int {
	attrs := w.sizes(at)
	switch {
	case w.o.dryRun:
		w.say(slog.LevelWarn, "restart-begin", append(attrs, slog.Bool("dry_run", true))...)
		w.state = w.state.PutOff(w.limits, at)
		return cli.Continue
	case len(w.o.prog) == 0:
		return cli.Yes
	}
	w.say(slog.LevelWarn, "restart-begin", attrs...)
	r, err := w.start(at)
	if err != nil {
		w.failed(err.Error())
		return cli.Continue
	}
	w.restart = r
	return cli.Continue
}

// start starts prog in a session of its own: it goes on if gracewatch ends.
func (w *watch) start(at time.Duration) (*restart, error) {
	argv := cli.Expand(w.o.prog, w.process.ID.String())
	r := &restart{cmd: exec.Command(argv[0], argv[1:]...), pidfd: -1}
	r.cmd.Stdout, r.cmd.Stderr = os.Stdout, os.Stderr
	r.cmd.Env = append(os.Environ(), w.environment(at)...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &r.pidfd}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	return r, nil
}

func (w *watch) environment(at time.Duration) []string {
	limit, service, over := w.limits.Soft, "", time.Duration(0)
	if w.state.Reason == grace.Hard {
		limit = w.limits.Hard
	}
	if w.o.follow {
		service = w.o.target.Text
	}
	if w.state.Over {
		over = at - w.state.Since
	}
	return []string{
		"GRACE_TARGET=" + w.process.ID.String(),
		"GRACE_SERVICE=" + service,
		"GRACE_REASON=" + string(w.state.Reason),
		"GRACE_RSS_KB=" + strconv.FormatInt(w.kb, 10),
		"GRACE_LIMIT_KB=" + strconv.FormatInt(limit, 10),
		"GRACE_OVER_SECONDS=" + strconv.FormatInt(int64(over/time.Second), 10),
	}
}

// settle is how long a process may take to end after prog has exited 0: one
// that prog signalled is on its way.
const settle = time.Second

// restartStep sees to a restart that is under way.
func (w *watch) restartStep() int {
	r := w.restart
	if !r.ended {
		fd := []unix.PollFd{r.pollFd()}
		if n, err := unix.Poll(fd, 0); n == 0 || err != nil {
			return cli.Continue
		}
		r.cmd.Wait()
		unix.Close(r.pidfd)
		r.ended = true
		if r.cmd.ProcessState.Success() {
			r.settled = now() + settle
		}
	}
	gone := w.process.Ended()
	if !gone && now() < r.settled {
		return cli.Continue
	}
	w.restart = nil
	defer rest()
	return w.finish(r.cmd.ProcessState, gone)
}

// finish takes how prog ended.
func (w *watch) finish(prog *os.ProcessState, gone bool) int {
	switch {
	case prog.Success() && gone:
		w.say(slog.LevelInfo, "restart-done", slog.String("reason", string(w.state.Reason)))
		if !w.o.follow {
			return cli.Yes
		}
	case prog.Success():
		w.failed("the program exited 0, but the process lives")
	case prog.ExitCode() == cli.No:
		w.say(slog.LevelInfo, "restart-put-off", slog.String("reason", string(w.state.Reason)), slog.Any("retry_s", seconds(w.limits.Retry)))
		w.state = w.state.PutOff(w.limits, now())
	default:
		w.failed("the program ended with " + prog.String())
	}
	return cli.Continue
}

func (w *watch) failed(why string) {
	w.say(slog.LevelError, "restart-failed", slog.String("reason", string(w.state.Reason)), slog.String("err", why),
		slog.Any("retry_s", seconds(w.limits.Retry)))
	w.state = w.state.Failed(w.limits, now())
}
