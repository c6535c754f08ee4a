// Command gracewatch watches how large a target is, and runs a program when it
// must be restarted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/service"
	"gracekit/lib/units"
	"gracekit/lib/watch"
)

func main() {
	watch.SpareMemory()
	cli.Main("gracewatch", usage, run)
}

func run(cmd *cli.Command) error {
	cfg, err := parse(cmd)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	defer stop()
	switch err := watch.Run(ctx, *cfg); {
	case errors.Is(err, watch.ErrEnded), errors.Is(err, watch.ErrNotDue):
		return cli.Exit(cli.No)
	case errors.Is(err, watch.ErrPostponed):
		return cli.Exit(cli.NotNow)
	case errors.Is(err, watch.ErrFailed):
		return cli.Exit(cli.Refused)
	case errors.Is(err, watch.ErrLocked) && cfg.Once && len(cfg.Prog) > 0: // cron has come again while a restart is under way
		cmd.Info("%v", err)
		return nil
	default:
		return err
	}
}

// parse reads the arguments.
func parse(cmd *cli.Command) (*watch.Config, error) {
	cfg := &watch.Config{Measure: "rss", ControlGID: -1, Messages: cmd,
		Grace: 15 * time.Minute, Interval: 3 * time.Second, Retry: time.Minute}
	json := false
	cmd.Var(&cfg.Soft, "soft", "s")
	cmd.Var(&cfg.Hard, "hard", "H")
	cmd.Var((*units.Duration)(&cfg.Grace), "grace", "g")
	cmd.Var((*units.Duration)(&cfg.Interval), "interval", "i")
	cmd.Func("measure", "m", "FIELD", cfg.SetMeasure)
	cmd.Func("scope", "S", "SCOPE", cfg.SetScope)
	cmd.Func("match", "", "GLOB", cfg.SetMatch)
	cmd.BoolVar(&cfg.Legacy, "legacy", "L")
	cmd.Func("max-age", "a", "DURATION", cfg.SetMaxAge)
	cmd.Var((*units.Duration)(&cfg.Retry), "retry", "r")
	cmd.Var((*units.Duration)(&cfg.ProgTimeout), "prog-timeout", "")
	cmd.BoolVar(&cfg.InPlace, "in-place", "")
	cmd.NameVar(&cfg.Control, "control", "c")
	cmd.Func("control-group", "", "NAME", cfg.SetControlGroup)
	cmd.NameVar(&cfg.State, "state", "f")
	cmd.Var((*units.Duration)(&cfg.WaitLock), "wait-lock", "")
	cmd.NameVar(&cfg.History, "history", "")
	cmd.BoolVar(&cfg.NoHistory, "no-history", "")
	cmd.NameVar(&cfg.Notify, "notify", "")
	cmd.BoolVar(&cfg.Once, "once", "1")
	cmd.BoolVar(&cfg.DryRun, "dry-run", "n")
	cmd.BoolVar(&cfg.NoLock, "no-lock", "")
	cmd.Func("log-format", "", "FORMAT", func(text string) error {
		json = text == "json"
		if !json && text != "text" {
			return fmt.Errorf("invalid log format %q (want text or json)", text)
		}
		return nil
	})
	words, err := cmd.Args(1, -1)
	if err != nil {
		return nil, err
	}
	if cfg.Target, err = service.Parse(words[0]); err != nil {
		return nil, cli.Misuse(err)
	}
	cfg.Prog = words[1:]
	if cmd.Given("match") && cmd.Given("scope") {
		return nil, cli.Misusef("--match cannot be combined with --scope")
	}
	if err := cfg.Check(); err != nil {
		return nil, cli.Misuse(err)
	}
	cfg.Log = watch.NewLog(cli.Stderr, json, cmd.Quiet)
	return cfg, findPrograms(cfg)
}

// findPrograms finds them now, and not at the moment when they are needed.
func findPrograms(cfg *watch.Config) (err error) {
	if len(cfg.Prog) > 0 {
		if cfg.File, err = cli.Find(cfg.Prog[0]); err != nil {
			return err
		}
	}
	if cfg.Notify != "" {
		if cfg.Notify, err = cli.Find(cfg.Notify); err != nil {
			return fmt.Errorf("--notify: %w", err)
		}
	}
	return nil
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
