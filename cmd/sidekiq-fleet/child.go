package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	ossignal "os/signal"
	"sync"
	"syscall"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
)

// heldClaim is a claim that is held while a program restarts the instances.
type heldClaim struct {
	*command
	subject *subject
	holder  string // empty: nothing was claimed
	ttl     time.Duration
	signals chan os.Signal // those that came to us
}

// run runs a program to its end and keeps the claim meanwhile. meanwhile, if it is not nil, runs beside it, until done is
// closed, and is waited for. The error carries the exit code of the program.
func (h *heldClaim) run(file string, argv []string, meanwhile func(done <-chan struct{})) error {
	h.signals = endSignals()
	cmd := &exec.Cmd{Path: file, Args: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if err := cmd.Start(); err != nil {
		h.releaseAll()
		if path, ok := errors.AsType[*os.PathError](err); ok {
			err = path.Err // the message has the path already
		}
		return &cli.Error{Code: cli.CannotRun, Err: fmt.Errorf("cannot run %q: %w", argv[0], err)}
	}
	done := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { h.passSignals(cmd.Process, done) })
	helpers.Go(func() { h.renew(done) })
	if meanwhile != nil {
		helpers.Go(func() { meanwhile(done) })
	}
	code := exitCode(cmd.Wait())
	close(done)
	helpers.Wait()
	if code != cli.Yes {
		h.releaseUnlessQuiet()
	}
	return cli.Exit(code)
}

// endSignals are those that ask a program to end, but for those that are ignored, as nohup has it.
func endSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if !ossignal.Ignored(sig) {
			ossignal.Notify(signals, sig)
		}
	}
	return signals
}

func (h *heldClaim) passSignals(to *os.Process, done <-chan struct{}) {
	for {
		select {
		case sig := <-h.signals:
			to.Signal(sig)
		case <-done:
			return
		}
	}
}

// exitCode is how a program ended, as a shell reports it.
func exitCode(err error) int {
	if err == nil {
		return cli.Yes
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return cli.Refused
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// renew renews the claim until done is closed. A failure is reported once: the claim lasts for its time.
func (h *heldClaim) renew(done <-chan struct{}) {
	if h.holder == "" { // nothing was claimed
		return
	}
	f, err := h.open() // its own connection, because the deadline of a fleet is for one question at a time
	if err != nil {
		return
	}
	defer f.Close()
	reported := false
	for {
		select {
		case <-done:
			return
		case <-time.After(h.ttl / 3):
		}
		for _, in := range h.subject.instances {
			f.Begin()
			ours, err := f.Renew(in.identity, h.holder, h.ttl)
			if (err != nil || !ours && in.process != nil && !in.process.Ended()) && !reported {
				reported = true
				if err == nil {
					err = errors.New("another process holds it, or it was released")
				}
				h.Warn("cannot renew the claim on %s: %v", in.identity, err)
			}
		}
	}
}

func (h *heldClaim) releaseAll() {
	if h.holder == "" {
		return
	}
	for _, in := range h.subject.instances {
		h.releaseOwn(in.identity, h.holder)
	}
}

// releaseOwn releases the claim of that holder, if it has one.
func (c *command) releaseOwn(identity, holder string) {
	c.fleet.Begin()
	if err := c.fleet.ReleaseOwn(identity, holder); err != nil {
		c.Error("cannot release the claim on %s: %v", identity, err)
	}
}

// nextBeat is how long the next heartbeat may take: 10 s from Sidekiq 7 on, and a little more.
const nextBeat = 12 * time.Second

// releaseUnlessQuiet releases the claim on the instances that are not quiet. One that was just quieted writes so at its
// next heartbeat, which is waited for, unless a signal tells us to end: then the claim is left to expire.
func (h *heldClaim) releaseUnlessQuiet() {
	if h.holder == "" {
		return
	}
	deadline := time.Now().Add(nextBeat)
	for _, in := range h.subject.instances {
		quiet, known := h.isQuiet(in, deadline)
		if quiet {
			h.Info("%s is quiet: its claim is kept, so that the restart can be resumed", in.identity)
		} else if known {
			h.releaseOwn(in.identity, h.holder)
		}
	}
}

// isQuiet waits for a heartbeat and tells whether the instance is quiet by then. It is not known if it has exited, Redis
// gives no answer, or a signal came.
func (h *heldClaim) isQuiet(in *instance, deadline time.Time) (quiet, known bool) {
	var first *fleet.Instance
	for {
		h.fleet.Begin()
		now, err := h.fleet.One(in.identity)
		switch {
		case err != nil:
			if !isOneOf(err, fleet.ErrAbsent, fleet.ErrDead) {
				h.Error("%v", err)
			}
			return false, false
		case now.Quiet:
			return true, true
		case first == nil:
			first = now
		}
		if now.Beat.After(first.Beat) || time.Now().After(deadline) {
			return false, true
		}
		select {
		case <-h.signals:
			return false, false
		case <-time.After(pause / 4):
		}
	}
}
