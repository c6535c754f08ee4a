package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
)

// Run watches a target until ctx ends, or, if the target is one process, until
// that was restarted or has exited. The error is nil if ctx ended, if the target
// was restarted, or, without a prog, if it is time for that; ErrEnded, ErrNotDue,
// ErrPostponed or ErrFailed; or a refusal, which was not logged.
func Run(ctx context.Context, cfg Config) error {
	stop, closeStop, err := stopDescriptor(ctx)
	if err != nil {
		return err
	}
	defer closeStop()
	h := newHost(&cfg, stop)
	defer h.close()
	if !cfg.limited() {
		cfg.Log.LogAttrs(ctx, Disabled.Level, Disabled.Name, slog.String("target", cfg.Target.Text), slog.String("why", "no limit is above 0"))
		if cfg.Once {
			return nil
		}
		return h.waitDisabled()
	}
	cfg.warn()
	makeThreads()
	h.oomScore = lowerOOMScore(&cfg)
	if cfg.Control != "" {
		if err := h.openControl(cfg.Control, cfg.ControlGID); err != nil {
			return err
		}
	}
	l := newLoop(&cfg, h)
	l.notifier = newNotifier(&cfg, h.oomScore)
	defer l.notifier.close()
	l.turns = newTurns(&cfg)
	defer l.close()
	for deadline := grace.Later(h.Now(), cfg.WaitLock); ; {
		err = l.start()
		if !errors.Is(err, ErrLocked) || h.Now() >= deadline {
			break
		}
		l.store = nil
		woken, errWait := h.Wait(waits{until: h.Now() + lockEvery})
		if errWait != nil || woken.stop {
			return errWait
		}
	}
	if err != nil {
		return err
	}
	l.exercise()
	lockMemory(&cfg)
	return l.run()
}

// lockEvery is how often a lock is tried that another gracewatch has.
const lockEvery = 100 * time.Millisecond

// waitDisabled waits as Run does, for stop or the end of a target that is one
// process, without a check: a watcher without a limit stays up, so that its
// supervisor does not start it over and over.
func (h *host) waitDisabled() error {
	on := waits{until: grace.Never}
	if !h.cfg.Target.IsDirectory() {
		p, err := h.Target()
		switch {
		case errors.Is(err, proc.ErrGone):
			return ErrEnded
		case err == nil:
			defer p.Close()
			on.process = p
		case !mayAppear(h.cfg.Target, err):
			return err
		}
	}
	now, err := h.Wait(on)
	if err == nil && !now.stop {
		err = ErrEnded
	}
	return err
}

// stopDescriptor is one that becomes readable when ctx ends.
func stopDescriptor(ctx context.Context) (fd int, closeFD func(), err error) {
	fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, nil, fmt.Errorf("cannot wait for signals: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	return fd, func() {
		if stop() { // it will not be written to any more
			unix.Close(fd)
		}
	}, nil
}
