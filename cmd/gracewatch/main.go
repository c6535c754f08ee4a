// Command gracewatch watches how large a target is, and runs a program when it
// must be restarted.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/watch"
)

func main() {
	watch.SpareMemory()
	cli.Main("gracewatch", usage, run)
}

func run(cmd *cli.Command) error {
	o, err := parse(cmd)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	defer stop()
	cfg := o.Config
	cfg.Messages = cmd
	cfg.Log = newLog(o.json, cmd.Quiet)
	if !cfg.Limited() {
		watch.LogDisabled(cfg.Log, cfg.Target.Text)
		if cfg.Once {
			return nil
		}
		return withCode(watch.WaitDisabled(ctx, cfg.Target), cmd, cfg)
	}
	o.warn(cmd)
	return withCode(watch.Run(ctx, cfg), cmd, cfg)
}

// withCode is the error that ends the program for how a watch ended.
func withCode(err error, cmd *cli.Command, cfg watch.Config) error {
	switch {
	case errors.Is(err, watch.ErrEnded), errors.Is(err, watch.ErrNotDue):
		return cli.Exit(cli.No)
	case errors.Is(err, watch.ErrPostponed):
		return cli.Exit(cli.NotNow)
	case errors.Is(err, watch.ErrFailed):
		return cli.Exit(cli.Refused)
	case errors.Is(err, watch.ErrLocked) && cfg.Once && len(cfg.Prog) > 0: // cron has come again while a restart is under way
		cmd.Info("%v", err)
		return nil
	}
	return err
}

// endSignals end a watch, unless they were ignored at the start (nohup).
func endSignals() (signals []os.Signal) {
	for _, sig := range []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if !signal.Ignored(sig) {
			signals = append(signals, sig)
		}
	}
	if len(signals) == 0 { // of no signals, Notify makes all
		signals = []os.Signal{unix.SIGTERM}
	}
	return signals
}

func newLog(json, quiet bool) *slog.Logger {
	level := slog.LevelInfo
	if quiet {
		level = slog.LevelError
	}
	if json {
		return slog.New(slog.NewJSONHandler(cli.Stderr, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(cli.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}))
}

// withoutTime leaves the time to svlogd and s6-log.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
