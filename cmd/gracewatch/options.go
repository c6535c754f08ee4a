package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"gracekit/lib/cgroup"
	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

// options are what the arguments say.
type options struct {
	target      service.Target
	follow      bool // the target is a service, followed from one process to the next
	prog        []string
	soft, hard  units.Size
	grace       units.Duration
	interval    units.Duration // 0: only when told to
	retry       units.Duration
	maxAge      units.Duration // 0: none
	progTimeout units.Duration // 0: none
	measure     proc.Field
	scope       proc.Scope
	legacy      bool
	control     string // the FIFO; empty: none
	controlGID  int    // the group that may write it; -1: none
	state       string // the file; empty: none
	once        bool
	dryRun      bool
	noLock      bool
	json        bool
	quiet       bool
}

func parse(cmd *cli.Command, args []string) (o options, code int) {
	o = options{
		grace:      units.Duration(15 * time.Minute),
		interval:   units.Duration(3 * time.Second),
		retry:      units.Duration(time.Minute),
		measure:    proc.RSS,
		controlGID: -1,
	}
	cmd.Var(&o.soft, "soft", "s")
	cmd.Var(&o.hard, "hard", "H")
	cmd.Var(&o.grace, "grace", "g")
	cmd.Var(&o.interval, "interval", "i")
	cmd.Func("measure", "m", "FIELD", o.setMeasure)
	cmd.Func("scope", "S", "SCOPE", func(text string) (err error) { o.scope, err = proc.ParseScope(text, proc.MemoryScopes[:4]); return err })
	cmd.BoolVar(&o.legacy, "legacy", "L")
	cmd.StringVar(&o.control, "control", "c")
	cmd.Func("control-group", "", "NAME", o.setControlGroup)
	cmd.StringVar(&o.state, "state", "f")
	cmd.Var(&o.maxAge, "max-age", "a")
	cmd.Var(&o.retry, "retry", "r")
	cmd.Var(&o.progTimeout, "prog-timeout", "")
	cmd.BoolVar(&o.once, "once", "1")
	cmd.BoolVar(&o.dryRun, "dry-run", "n")
	cmd.BoolVar(&o.noLock, "no-lock", "")
	cmd.Func("log-format", "", "FORMAT", o.setLogFormat)
	words, code := cmd.Parse(args, 1, -1)
	if code != cli.Continue {
		return o, code
	}
	o.quiet, o.prog = cmd.Quiet, words[1:]
	if err := o.complete(cmd, words[0]); err != nil {
		return o, cmd.Misused(err)
	}
	if len(o.prog) > 0 {
		if _, code, err := cli.Find(o.prog[0]); err != nil { // now, and not at the moment when it is needed
			cmd.Refused(err)
			return o, code
		}
	}
	return o, cli.Continue
}

// complete takes the target, and refuses options that make no sense together.
func (o *options) complete(cmd *cli.Command, target string) (err error) {
	if o.target, err = service.Parse(target); err != nil {
		return err
	}
	o.follow = o.target.IsDirectory()
	if !cmd.Given("state") && o.follow && (!o.dryRun || o.once) {
		o.state = filepath.Join(target, "supervise", "gracewatch")
	}
	switch {
	case cmd.Given("state") && o.state == "":
		return errors.New(`--state: "" is no file`)
	case cmd.Given("control") && o.control == "":
		return errors.New(`--control: "" is no file`)
	case cmd.Given("control-group") && o.control == "":
		return errors.New("--control-group: needs --control FIFO, which the group is to write")
	case o.once && o.state == "":
		return errors.New("--once: needs --state FILE, where the grace timer lives between two checks")
	case o.once && o.control != "":
		return errors.New("--once: nobody is there to read --control " + strconv.Quote(o.control))
	case o.interval == 0 && o.control == "" && !o.once:
		return errors.New(`--interval: "0" (only when told to) needs --control FIFO to be told by`)
	case o.interval > 0 && o.interval < units.Duration(time.Millisecond):
		return fmt.Errorf("--interval: %q is too short (3, 500ms, at least 1ms)", o.interval)
	case o.retry < units.Duration(100*time.Millisecond):
		return fmt.Errorf("--retry: %q is too short (60, at least 100ms)", o.retry)
	case cmd.Given("max-age") && o.maxAge == 0:
		return errors.New(`--max-age: "0" is no age (6h, 86400)`)
	}
	return nil
}

var measures = map[string]proc.Field{"rss": proc.RSS, "pss": proc.PSS, "uss": proc.USS, "anon": proc.Anon, "rss+swap": proc.RSS | proc.Swap}

func (o *options) setMeasure(text string) error {
	var ok bool
	if o.measure, ok = measures[text]; !ok {
		return fmt.Errorf("%q is no measure (rss, pss, uss, anon, rss+swap)", text)
	}
	return nil
}

func (o *options) setControlGroup(name string) error {
	g, err := user.LookupGroup(name)
	if gid, numeric := strconv.ParseUint(name, 10, 31); err != nil && numeric == nil { // as chown has it
		o.controlGID = int(gid)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%q is no group (as in /etc/group)", name)
	}
	o.controlGID, err = strconv.Atoi(g.Gid)
	return err
}

func (o *options) setLogFormat(text string) error {
	if text != "text" && text != "json" {
		return fmt.Errorf("%q is no log format (text, json)", text)
	}
	o.json = text == "json"
	return nil
}

// limited tells whether there is anything to watch for.
func (o *options) limited() bool { return !o.soft.IsZero() || !o.hard.IsZero() || o.aging() }

// aging tells whether there is an age that is too old.
func (o *options) aging() bool { return o.maxAge > 0 && o.maxAge < units.Never }

// limits are those for one process: a share is of the memory there is for it.
func (o *options) limits(id proc.ID) (grace.Limits, error) {
	l := grace.Limits{Grace: o.grace.Std(), Retry: o.retry.Std(), Legacy: o.legacy}
	var available int64
	if o.soft.IsShare() || o.hard.IsShare() {
		var err error
		if available, err = cgroup.Available(id.PID); err != nil {
			return l, err
		}
	}
	l.Soft, l.Hard = o.soft.KB(available), o.hard.KB(available)
	if o.aging() {
		l.Old = id.StartTime() + o.maxAge.Std() + spread(id, o.maxAge.Std()/10)
	}
	return l, nil
}

// spread is a part of most that differs from process to process and stays the
// same for each, so that those that started together do not restart together.
func spread(id proc.ID, most time.Duration) time.Duration {
	h := fnv.New64a()
	fmt.Fprint(h, id)
	return time.Duration(h.Sum64() % uint64(most+1))
}
