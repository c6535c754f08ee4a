package main

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
	"gracekit/lib/watch"
)

const usage = `usage: gracewatch [options] TARGET [prog...]

Watch the memory of TARGET's process. When it has been over the soft limit for
longer than the grace time, or is over the hard limit, run prog, in which {}
stands for the identity, PID:STARTTIME. Without a prog, exit 0. A service
directory is followed from one process to the next.

  -s, --soft SIZE          soft limit
  -H, --hard SIZE          hard limit
  -g, --grace DURATION     how long it may stay over the soft limit (15m)
  -i, --interval DURATION  between checks (3s); 0: only on command
  -m, --measure FIELD      rss (default), pss, uss, anon, rss+swap
  -S, --scope SCOPE        process (default), group, tree, cgroup; children,
                           sidekiq: each child, or each Sidekiq of the tree, is
                           watched and restarted for itself, one at a time
      --match GLOB         scope: each process of the tree whose title or name
                           matches, for itself
  -L, --legacy             once over the soft limit, the restart can no longer be
                           cancelled: it happens when the grace time expires
  -a, --max-age DURATION   restart older processes too (default: never); up to a
                           tenth is added, a different part for each process
  -r, --retry DURATION     wait after a restart that was postponed or failed (60s)
      --prog-timeout DURATION  then prog gets TERM, then KILL, and has failed
                           (default: none)
      --in-place           prog shrinks the process and does not end it: the
                           restart is done when the size is under the limit
                           within --retry
  -c, --control FIFO       make FIFO and read commands from it: c check now,
                           t restart now, p pause, u resume, x exit (a service
                           has supervise/gracewatch.control, too)
      --control-group NAME let a group write to it
  -f, --state FILE         where it keeps what it is doing, to resume after it
                           was killed (in a service: supervise/gracewatch)
      --wait-lock DURATION how long to wait for another gracewatch to release
                           the state file (0)
      --history FILE       one sample a minute for a week (in a service:
                           supervise/gracewatch.history)
      --no-history         no such file
      --notify PROG        run PROG for warnings, errors and finished restarts
  -1, --once               one check, then exit, for cron
  -n, --dry-run            log what it would do, and do nothing
      --no-lock            do not lock its memory, nor lower its oom_score_adj
      --log-format FORMAT  text (default) or json
  -q, --quiet              only errors
  -v, --verbose            more messages
  -h, --help               this text
      --version            the version

TARGET is a pid, PID:STARTTIME, a service directory, a service name or a pidfile
(see svpid). SIZE is KB, or has a suffix B K M G T, or is a share of the memory
there is: 80%. DURATION is seconds, or 500ms, 90s, 15m, 1h30m, inf.

prog has GRACE_TARGET, GRACE_SERVICE, GRACE_REASON (soft, hard, legacy, age,
control), GRACE_RSS_KB, GRACE_LIMIT_KB, GRACE_HARD_KB and GRACE_OVER_SECONDS in
its environment. It exits 0 when the process has exited; 75 for not now, which is
tried again after --retry if the process is still over its limit; anything else
is a failure, and the restart begins again after --retry at any size.

Exit: 0 restarted, or without prog: time for it; with -1: nothing to do, or
      done; 1 the process exited by itself; with -1 and without prog: not time
      for it; 75 with -1: postponed; 100 wrong usage; 111 refused, or with -1 a
      restart that failed; 126, 127 prog cannot be run, was not found.
`

// options are what the arguments say.
type options struct {
	watch.Config
	grace, interval, retry, maxAge, progTimeout, waitLock units.Duration
	json                                                  bool
}

func parse(cmd *cli.Command) (*options, error) {
	o := &options{
		grace:    units.Duration(15 * time.Minute),
		interval: units.Duration(3 * time.Second),
		retry:    units.Duration(time.Minute),
		Config:   watch.Config{Measure: proc.RSS, MeasureName: "rss", ControlGID: -1},
	}
	cmd.Var(&o.Soft, "soft", "s")
	cmd.Var(&o.Hard, "hard", "H")
	cmd.Var(&o.grace, "grace", "g")
	cmd.Var(&o.interval, "interval", "i")
	cmd.Func("measure", "m", "FIELD", o.setMeasure)
	cmd.Func("scope", "S", "SCOPE", o.setScope)
	cmd.Func("match", "", "GLOB", o.setMatch)
	cmd.BoolVar(&o.Legacy, "legacy", "L")
	cmd.Var(&o.maxAge, "max-age", "a")
	cmd.Var(&o.retry, "retry", "r")
	cmd.Var(&o.progTimeout, "prog-timeout", "")
	cmd.BoolVar(&o.InPlace, "in-place", "")
	cmd.StringVar(&o.Control, "control", "c")
	cmd.Func("control-group", "", "NAME", o.setControlGroup)
	cmd.StringVar(&o.State, "state", "f")
	cmd.Var(&o.waitLock, "wait-lock", "")
	cmd.StringVar(&o.History, "history", "")
	cmd.BoolVar(&o.NoHistory, "no-history", "")
	cmd.StringVar(&o.Notify, "notify", "")
	cmd.BoolVar(&o.Once, "once", "1")
	cmd.BoolVar(&o.DryRun, "dry-run", "n")
	cmd.BoolVar(&o.NoLock, "no-lock", "")
	cmd.Func("log-format", "", "FORMAT", o.setLogFormat)
	words, err := cmd.Args(1, -1)
	if err != nil {
		return nil, err
	}
	o.Prog = words[1:]
	if o.Target, err = service.Parse(words[0]); err != nil {
		return nil, cli.Misuse(err)
	}
	if err := o.complete(cmd); err != nil {
		return nil, cli.Misuse(err)
	}
	return o, o.findPrograms()
}

// complete refuses options that make no sense together.
func (o *options) complete(cmd *cli.Command) error {
	for name, value := range map[string]string{"state": o.State, "control": o.Control, "history": o.History, "notify": o.Notify} {
		if cmd.Given(name) && value == "" {
			return fmt.Errorf(`--%s: invalid value "" (want a name)`, name)
		}
	}
	switch {
	case cmd.Given("control-group") && o.Control == "":
		return errors.New("--control-group: needs --control FIFO, which the group may write")
	case cmd.Given("match") && cmd.Given("scope"):
		return errors.New("--match cannot be combined with --scope")
	case o.NoHistory && o.History != "":
		return errors.New("--no-history cannot be combined with --history")
	case o.Once && o.State == "" && !o.Target.IsDirectory():
		return errors.New("--once: needs --state FILE, where the grace timer is kept between two checks")
	case o.Once && o.Control != "":
		return errors.New("--once cannot be combined with --control")
	case o.InPlace && len(o.Prog) == 0:
		return errors.New("--in-place: needs a program")
	case o.interval == 0 && o.Control == "" && !o.Once:
		return errors.New(`--interval: "0" (only on command) needs --control FIFO`)
	case o.interval > 0 && o.interval < units.Duration(time.Millisecond), o.interval == units.Never: // never is no watch
		return fmt.Errorf("--interval: invalid duration %q (want 3 or 500ms, at least 1ms)", o.interval)
	case o.retry < units.Duration(100*time.Millisecond):
		return fmt.Errorf("--retry: invalid duration %q (want 60, at least 100ms)", o.retry)
	case cmd.Given("max-age") && o.maxAge == 0:
		return errors.New(`--max-age: invalid age "0" (want 6h or 86400)`)
	}
	o.Grace, o.Interval, o.Retry, o.ProgTimeout, o.WaitLock = o.grace.Std(), o.interval.Std(), o.retry.Std(), o.progTimeout.Std(), o.waitLock.Std()
	if o.maxAge < units.Never {
		o.MaxAge = o.maxAge.Std()
	}
	return nil
}

// findPrograms finds them now, and not at the moment when they are needed.
func (o *options) findPrograms() error {
	if len(o.Prog) > 0 {
		file, code, err := cli.Find(o.Prog[0])
		if err != nil {
			return &cli.Error{Code: code, Err: err}
		}
		o.File = file
	}
	if o.Notify != "" {
		file, code, err := cli.Find(o.Notify)
		if err != nil {
			return &cli.Error{Code: code, Err: fmt.Errorf("--notify: %w", err)}
		}
		o.Notify = file
	}
	return nil
}

// warn warns of limits that do not fit together.
func (o *options) warn(cmd *cli.Command) {
	const machine = 1 << 40 // any size: two shares are compared
	if o.Soft.IsShare() == o.Hard.IsShare() && !o.Hard.IsZero() && o.Soft.KB(machine) > o.Hard.KB(machine) {
		cmd.Warn("--soft %v is above --hard %v: it has no effect", o.Soft, o.Hard)
	}
}

var measures = map[string]proc.Field{"rss": proc.RSS, "pss": proc.PSS, "uss": proc.USS, "anon": proc.Anon, "rss+swap": proc.RSS | proc.Swap}

func (o *options) setMeasure(text string) error {
	field, ok := measures[text]
	if !ok {
		return fmt.Errorf("invalid measure %q (want rss, pss, uss, anon or rss+swap)", text)
	}
	o.Measure, o.MeasureName = field, text
	return nil
}

func (o *options) setScope(text string) (err error) {
	o.Scope, err = proc.ParseScope(text, proc.MemoryScopes)
	return err
}

func (o *options) setMatch(glob string) error {
	o.Match = glob
	return proc.CheckGlob(glob)
}

func (o *options) setControlGroup(name string) error {
	g, err := user.LookupGroup(name)
	if gid, numeric := strconv.ParseUint(name, 10, 31); err != nil && numeric == nil { // as chown has it
		o.ControlGID = int(gid)
		return nil
	}
	if err != nil {
		return fmt.Errorf("invalid group %q (want a name of /etc/group or a number)", name)
	}
	o.ControlGID, err = strconv.Atoi(g.Gid)
	return err
}

func (o *options) setLogFormat(text string) error {
	if text != "text" && text != "json" {
		return fmt.Errorf("invalid log format %q (want text or json)", text)
	}
	o.json = text == "json"
	return nil
}
