// Command sidekiq-idle tells whether a Sidekiq is running jobs, and waits for
// their end.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
	"gracekit/lib/units"
)

const usage = `usage: sidekiq-idle [-w DURATION] [-q] [-j] TARGET

Print BUSY CONCURRENCY STATE, STATE running or stopping, as the title of the
Sidekiq says (5 s old at most in Sidekiq 6, 10 s from 7 on).

  -w, --wait DURATION  wait up to that long until the running jobs have ended,
                       or the process has. The Sidekiq must have been told to be
                       quiet: one that takes jobs is never taken for idle
  -j, --json           a line of JSON: id, busy, concurrency, state, version,
                       tag
  -q, --quiet          print nothing but errors
  -v, --verbose        more messages
  -h, --help           this text
      --version        the version

TARGET is a pid, PID:STARTTIME, a service directory or a pidfile (see svpid).
DURATION is seconds, or 500ms, 90s, 15m, inf.

Exit: 0 no job is running; 1 some are, or there is no process (with -w: 0);
      100 used wrongly, or no Sidekiq; 111 its title doesn't tell.
`

type description struct {
	ID          string `json:"id"`
	Busy        int    `json:"busy"`
	Concurrency *int   `json:"concurrency"` // null where the title doesn't tell
	State       string `json:"state"`
	Version     string `json:"version"`
	Tag         string `json:"tag"`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, cli.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	cmd := cli.New("sidekiq-idle", usage, stdout, stderr)
	var wait units.Duration
	cmd.Var(&wait, "wait", "w")
	asJSON := cmd.Bool("json", "j")
	words, code := cmd.Parse(args, 1, 1)
	if code != cli.Continue {
		return code
	}
	target, err := service.Parse(words[0])
	if err != nil {
		return cmd.Misused(err)
	}
	waits := cmd.Given("wait")
	p, err := target.Open()
	if err != nil {
		return ended(cmd, err, waits)
	}
	defer p.Close()
	w := sidekiq.NewWatch(p)
	var b sidekiq.Busy
	if waits {
		b, err = w.Wait(deadline(wait))
	} else {
		b, err = w.Now()
	}
	if err != nil {
		return ended(cmd, fmt.Errorf("%s: %w", target.Text, err), waits)
	}
	if !cmd.Quiet {
		if code := cmd.Print(line(p.ID, b, *asJSON)); code != cli.Yes {
			return code
		}
	}
	switch {
	case b.Idle, !waits && b.Busy == 0:
		return cli.Yes
	case waits && b.Busy == 0:
		cmd.Warn("%s: its title says 0 busy, but not stopping: it takes jobs, or was told to be quiet just now", target.Text)
	}
	return cli.No
}

// ended is the exit code where there is nothing to print.
func ended(cmd *cli.Command, err error, waits bool) int {
	switch {
	case errors.Is(err, proc.ErrGone) && waits:
		cmd.Info("%v", err)
		return cli.Yes
	case errors.Is(err, proc.ErrGone):
		cmd.Warn("%v", err)
		return cli.No
	case errors.Is(err, sidekiq.ErrNoSidekiq):
		return cmd.Misused(err)
	}
	return cmd.Refused(err)
}

func deadline(wait units.Duration) time.Time {
	if wait == units.Never {
		return time.Time{}
	}
	return time.Now().Add(wait.Std())
}

func line(id proc.ID, b sidekiq.Busy, asJSON bool) string {
	state := "running"
	if b.Stopping {
		state = "stopping"
	}
	if asJSON {
		d := description{ID: id.String(), Busy: b.Busy, State: state, Version: b.Version, Tag: b.Tag}
		if b.Told {
			d.Concurrency = &b.Concurrency
		}
		text, err := json.Marshal(d)
		if err != nil {
			panic(err) // there is nothing in it that can't be
		}
		return string(text) + "\n"
	}
	concurrency := "-" // idle by the threads, while the title doesn't tell
	if b.Told {
		concurrency = strconv.Itoa(b.Concurrency)
	}
	return fmt.Sprintf("%d %s %s\n", b.Busy, concurrency, state)
}
