package main

import (
	"fmt"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/limit"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// options are what the arguments say.
type options struct {
	target     service.Target
	follow     bool // the target is a service, followed from one process to the next
	prog       []string
	soft, hard limit.Size
	grace      limit.Duration
	interval   limit.Duration
	retry      limit.Duration
	measure    proc.Field
	scope      proc.Scope
	legacy     bool
	dryRun     bool
	json       bool
	quiet      bool
}

func parse(cmd *cli.Command, args []string) (o options, code int) {
	o = options{
		grace:    limit.Duration(15 * time.Minute),
		interval: limit.Duration(3 * time.Second),
		retry:    limit.Duration(time.Minute),
		measure:  proc.RSS,
	}
	cmd.Var(&o.soft, "soft", "s")
	cmd.Var(&o.hard, "hard", "H")
	cmd.Var(&o.grace, "grace", "g")
	cmd.Func("interval", "i", "DURATION", o.setInterval)
	cmd.Func("measure", "m", "FIELD", o.setMeasure)
	cmd.Func("scope", "S", "SCOPE", o.setScope)
	legacy := cmd.Bool("legacy", "L")
	cmd.Var(&o.retry, "retry", "r")
	dryRun := cmd.Bool("dry-run", "n")
	cmd.Func("log-format", "", "FORMAT", o.setLogFormat)
	words, code := cmd.Parse(args, 1, -1)
	if code != cli.Continue {
		return o, code
	}
	var err error
	if o.target, err = service.Parse(words[0]); err != nil {
		return o, cmd.Misused(err)
	}
	o.follow = o.target.IsDirectory()
	o.legacy, o.dryRun, o.quiet, o.prog = *legacy, *dryRun, cmd.Quiet, words[1:]
	if len(o.prog) > 0 {
		if _, code, err := cli.Find(o.prog[0]); err != nil { // now, and not at the moment when it is needed
			cmd.Refused(err)
			return o, code
		}
	}
	return o, cli.Continue
}

func (o *options) setInterval(text string) error {
	err := o.interval.Set(text)
	if err == nil && o.interval < limit.Duration(time.Millisecond) {
		err = fmt.Errorf("%q is too short an interval (3, 500ms; at least 1ms)", text)
	}
	return err
}

var measures = map[string]proc.Field{"rss": proc.RSS, "pss": proc.PSS, "uss": proc.USS, "anon": proc.Anon, "rss+swap": proc.RSS | proc.Swap}

func (o *options) setMeasure(text string) error {
	var ok bool
	if o.measure, ok = measures[text]; !ok {
		return fmt.Errorf("%q is no measure (rss, pss, uss, anon, rss+swap)", text)
	}
	return nil
}

func (o *options) setScope(text string) (err error) {
	o.scope, err = proc.ParseScope(text)
	if err != nil || o.scope == proc.Children {
		return fmt.Errorf("%q is no scope to watch (process, group, tree)", text)
	}
	return nil
}

func (o *options) setLogFormat(text string) error {
	if text != "text" && text != "json" {
		return fmt.Errorf("%q is no log format (text, json)", text)
	}
	o.json = text == "json"
	return nil
}

// limited tells whether there is anything to watch for.
func (o *options) limited() bool { return !o.soft.IsZero() || !o.hard.IsZero() }

// limits are those for one process: a share is of the memory there is for it.
func (o *options) limits(pid int) (grace.Limits, error) {
	l := grace.Limits{Grace: o.grace.Std(), Retry: o.retry.Std(), Legacy: o.legacy}
	var available int64
	if o.soft.IsShare() || o.hard.IsShare() {
		var err error
		if available, err = limit.Available(pid); err != nil {
			return l, err
		}
	}
	l.Soft, l.Hard = o.soft.KB(available), o.hard.KB(available)
	return l, nil
}
