package main

import (
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// control is the FIFO that commands come from.
type control struct {
	fd    int
	quiet time.Duration // until then no command has come; never: one has, or that was told
}

// patience is how long nothing may come from a job hook that is all there is to
// check by. A variable: its test is not that patient.
var patience = 10 * time.Minute

func openControl(o options) (*control, error) {
	fd, err := service.OpenFIFO(o.control, o.controlGID)
	if err != nil {
		return nil, err
	}
	c := &control{fd: fd, quiet: never}
	if o.interval == 0 {
		c.quiet = proc.Now() + patience
	}
	return c, nil
}

func (c *control) close() { unix.Close(c.fd) }

func (c *control) pollFd() unix.PollFd { return unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN} }

func (c *control) due() time.Duration { return c.quiet }

// read takes all commands that are there: however many checks are asked for, one answers them.
func (c *control) read() (letters []byte) {
	buf := make([]byte, 4096)
	n, err := unix.Read(c.fd, buf)
	if err != nil {
		return nil
	}
	c.quiet = never
	return buf[:n]
}

// obey does what the commands say, in order; x ends gracewatch. A check comes
// once, after all of them.
func (w *watch) obey() int {
	letters := w.control.read()
	if w.target == nil { // one that has just come is meant, too
		w.find()
	}
	check := false
	for _, letter := range letters {
		switch letter {
		case 'c':
			check = true
		case 't':
			check = true
			w.order()
		case 'p':
			w.pause(true)
		case 'u':
			w.pause(false)
			check = true
		case 'x':
			return cli.Yes
		}
	}
	if check && !w.paused && w.target != nil {
		w.check = min(w.check, proc.Now())
	}
	return cli.Continue
}

// order makes all that is watched due for a restart; children one at a time.
func (w *watch) order() {
	if w.o.scope == proc.ScopeChildren && w.target != nil {
		w.children()
	}
	for _, d := range w.wards {
		d.state = d.state.Ordered()
	}
	w.file.dirty = true
}

func (w *watch) pause(paused bool) {
	if w.paused == paused {
		return
	}
	w.paused, w.file.dirty = paused, true
	if paused {
		w.say(nil, slog.LevelInfo, "paused")
		return
	}
	w.check = proc.Now()
	w.say(nil, slog.LevelInfo, "resumed")
}

// silent says once that no command has come where there is nothing else to check by.
func (w *watch) silent(at time.Duration) {
	if at >= w.control.quiet {
		w.control.quiet = never
		w.cmd.Warn("no command has come on %s for %v: is the job hook loaded?", w.o.control, patience)
	}
}
