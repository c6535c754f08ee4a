// Command pgsignal sends a schedule of signals to a target's process group, or
// to all that belongs to the target, until nothing of it is left.
package main

import (
	"errors"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/service"
)

const usage = `usage: pgsignal [-p] [-c] [-v] TARGET SCHEDULE

Send signals to the process group that TARGET leads, and wait for its end.
A target that leads no group is signalled alone.

SCHEDULE  SIGNAL/SECONDS/SIGNAL/SECONDS/...  send, wait up to that long, send
          the next: TERM/27/KILL@all/5. It ends as soon as nothing is left.
          The word forever repeats the steps after it. After TERM, CONT is sent.

A signal may name what it is sent to:
  @process  the process alone
  @group    its process group (the default)
  @tree     the process and its descendants
  @all      its group, its session, its tree, and the processes that carry its
            mark: PGEXEC_ID in the environment, which pgexec sets

  -p, --process  signal the process alone, and wait for it alone
  -c, --caught   send a signal only to a process that has a handler for it; a
                 step that reaches none is skipped
  -v, --verbose  print each signal, and what is left
  -q, --quiet    print errors only
  -h, --help     print this text
      --version  print the version

TARGET is a pid, PID:START, a service directory or name, or a pidfile (see
svpid). By PID:START the members of a group are found after its leader's end.

Exit: 0 nothing of the target is left, or the schedule ends in a signal and it
      was sent; 1 something is left; 100 wrong usage; 111 refused.
`

func main() { cli.Main("pgsignal", usage, run) }

func run(cmd *cli.Command) error {
	alone, caught := cmd.Bool("process", "p"), cmd.Bool("caught", "c")
	words, err := cmd.Args(2, 2)
	if err != nil {
		return err
	}
	target, err := service.Parse(words[0])
	if err != nil {
		return cli.Misuse(err)
	}
	steps, err := schedule.Parse(words[1])
	if err != nil {
		return cli.Misuse(err)
	}
	r := schedule.Run{Alone: *alone, Caught: *caught, Warn: cmd.Warn, Info: cmd.Info}
	p, err := target.Open()
	var gone *service.GoneError
	switch {
	case err == nil:
		defer p.Close()
		r.Process, r.ID = p, p.ID
	case errors.As(err, &gone) && gone.ID != proc.ID{}:
		r.ID = gone.ID // what belongs to it may be alive
	case errors.As(err, &gone) && gone.Stale: // a process may be alive, and is not signalled
		cmd.Warn("%v", err)
		return nil
	case errors.As(err, &gone):
		cmd.Info("%v", err)
		return nil
	default:
		return err
	}
	left, err := r.Do(steps)
	if err != nil || len(left) == 0 {
		return err
	}
	cmd.Info("left: %s", schedule.Describe(left))
	return cli.Exit(cli.No)
}
