// Command pgsignal sends a schedule of signals to a target's process group
// until nothing of it is left.
package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/service"
)

const usage = `usage: pgsignal [-p] [-c] [-v] TARGET SCHEDULE

Send signals to the process group that the target leads, and wait for its end.
A target that leads no group is signalled alone.

SCHEDULE  SIGNAL/SECONDS/SIGNAL/SECONDS/...  send, wait up to that long, send
          the next: TSTP/30/TERM/27/KILL/5. It ends as soon as nothing is left.
          After a signal, @process, @group or @tree says whom it goes to;
          the word forever repeats what follows it. After TERM, CONT is sent.

  -p, --process  to the process alone, and wait for it alone
  -c, --caught   a signal goes only to a process that has a handler for it;
                 if there is none the step is left out
  -v, --verbose  say what is sent to whom, and what is left
  -q, --quiet    only errors
  -h, --help     this text
      --version  the version

TARGET is a pid, PID:STARTTIME, a service directory or a pidfile (see svpid). By
an identity the members of a group are found after their leader has ended.

Exit: 0 nothing of the target is left, or the schedule ends in a signal and it
      was sent; 1 something is left; 100 used wrongly; 111 refused.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, cli.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	cmd := cli.New("pgsignal", usage, stdout, stderr)
	alone, caught := cmd.Bool("process", "p"), cmd.Bool("caught", "c")
	words, code := cmd.Parse(args, 2, 2)
	if code != cli.Continue {
		return code
	}
	target, err := service.Parse(words[0])
	if err != nil {
		return cmd.Misused(err)
	}
	steps, err := schedule.Parse(words[1])
	if err != nil {
		return cmd.Misused(err)
	}
	r := schedule.Run{Alone: *alone, Caught: *caught, Warn: cmd.Warn, Info: cmd.Info}
	p, err := target.Open()
	var gone *service.GoneError
	switch {
	case err == nil:
		defer p.Close()
		r.Process, r.ID = p, p.ID
	case errors.As(err, &gone) && gone.ID != proc.ID{}:
		r.ID = gone.ID // its group may live
	case errors.As(err, &gone):
		cmd.Info("%v", err)
		return cli.Yes
	default:
		return cmd.Refused(err)
	}
	left, err := r.Do(steps)
	if err != nil {
		return cmd.Refused(err)
	}
	if len(left) == 0 {
		return cli.Yes
	}
	cmd.Info("left: %s", names(left))
	return cli.No
}

// names says who is left, in a line.
func names(left []proc.ID) string {
	var b strings.Builder
	for i, id := range left {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(id.String())
		if p, err := proc.OpenID(id); err == nil {
			comm, _ := p.ReadFile("comm")
			b.WriteString(" " + strings.TrimSuffix(string(comm), "\n"))
			p.Close()
		}
	}
	return b.String()
}
