// Command gracestat shows what is going on with services that gracewatch
// watches: how large they are, which limits they have, what they were restarted
// for, and whether anybody watches them.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

const usage = `usage: gracestat [-w] [-j] [TARGET...]
       gracestat --plot | --svg FILE | --csv [--since DURATION] TARGET
       gracestat --prometheus [--output FILE --every DURATION] [TARGET...]

Show how large each service is, its limits and state, and its last restart: a
line each, and a line for each of several workers.

  -w, --watch            refresh each second, with a bar against the limits; keys
                         q quit, p pause, u resume, r restart now, up and down
  -j, --json             JSON lines instead of a table
      --plot             draw the history of TARGET: size, limits, restarts
      --svg FILE         the same as a picture
      --csv              the same as lines: time,kb,soft_kb,hard_kb,restart
      --since DURATION   how far back a history goes (default: 24h, at most 7 days)
      --prometheus       metrics in the text format of Prometheus
      --output FILE      replace FILE instead of printing
      --every DURATION   go on, once in that time
  -q, --quiet            print nothing but errors: the exit code tells
  -v, --verbose          more messages
  -h, --help             this text
      --version          the version

TARGET is a service name, a service directory, a pid, PID:STARTTIME or a pidfile
(see svpid). Default: all services of $SVDIR, or else of /etc/service,
/run/service and /service, and each program that memory-killer started without a
service directory (below systemd, for example).
DURATION is seconds, or 500ms, 90s, 15m, 24h.

STATE with -j is one of ok, over, quiet, restarting, postponed, paused, too-low,
down, unwatched.

Exit: 0 all is well; 1 something needs attention: a service is paused, postponed,
      not watched, down although wanted up, its restart failed or its limit is
      too low; 100 used wrongly; 111 something cannot be read.
`

// options are those of the command line.
type options struct {
	watch, json, plot, csv, prometheus bool
	svg, output                        string
	since, every                       units.Duration
}

func main() { cli.Main("gracestat", usage, run) }

func run(cmd *cli.Command) error {
	o := options{since: units.Duration(24 * time.Hour)}
	cmd.BoolVar(&o.watch, "watch", "w")
	cmd.BoolVar(&o.json, "json", "j")
	cmd.BoolVar(&o.plot, "plot", "")
	cmd.StringVar(&o.svg, "svg", "")
	cmd.BoolVar(&o.csv, "csv", "")
	cmd.BoolVar(&o.prometheus, "prometheus", "")
	cmd.StringVar(&o.output, "output", "")
	cmd.Var(&o.since, "since", "")
	cmd.Var(&o.every, "every", "")
	words, err := cmd.Args(0, -1)
	if err != nil {
		return err
	}
	if err := o.check(cmd, words); err != nil {
		return cli.Misuse(err)
	}
	c, err := newCollector(words)
	if err != nil {
		return cli.Misuse(err)
	}
	if o.plot || o.svg != "" || o.csv {
		return showHistory(cmd, o, c)
	}
	if o.prometheus {
		return exportMetrics(cmd, o, c)
	}
	services := c.collect()
	switch {
	case len(services) == 0:
		return errNoService()
	case o.watch:
		return watchLive(cmd, c)
	}
	return show(cmd, o, services)
}

func errNoService() error {
	return fmt.Errorf("cannot find a service: none in %s (name a pid or a service directory)", strings.Join(serviceFolders(), ", "))
}

// check refuses options that make no sense together.
func (o *options) check(cmd *cli.Command, words []string) error {
	modes := 0
	for _, mode := range []bool{o.watch, o.json, o.plot, o.csv, o.prometheus, o.svg != ""} {
		if mode {
			modes++
		}
	}
	history := o.plot || o.csv || o.svg != ""
	switch {
	case modes > 1:
		return errors.New("--watch, --json, --plot, --svg, --csv and --prometheus cannot be combined")
	case cmd.Given("svg") && o.svg == "":
		return errors.New(`--svg: invalid file "" (want a path such as sidekiq.svg)`)
	case history && len(words) != 1:
		return fmt.Errorf("--plot, --svg and --csv need one TARGET (got %d)", len(words))
	case cmd.Given("since") && !history:
		return errors.New("--since needs --plot, --svg or --csv")
	case o.since < units.Duration(time.Minute):
		return fmt.Errorf("--since: invalid duration %q (want at least 1m; default: 24h)", o.since)
	case cmd.Given("output") && (!o.prometheus || o.output == ""):
		return errors.New("--output needs --prometheus and a file")
	case cmd.Given("every") && o.output == "":
		return errors.New("--every needs --prometheus --output FILE")
	case cmd.Given("every") && o.every < units.Duration(time.Second):
		return fmt.Errorf("--every: invalid duration %q (want at least 1s)", o.every)
	}
	return nil
}

// show prints the table, or JSON lines.
func show(cmd *cli.Command, o options, services []Service) error {
	text := table(services, terminalWidth(os.Stdout), useColour(os.Stdout))
	if o.json {
		text = jsonLines(services)
	}
	if !cmd.Quiet {
		if err := cmd.Write(text); err != nil {
			return err
		}
	}
	code := cli.Yes
	for _, s := range services {
		switch {
		case s.Err != nil:
			cmd.Warn("%v", s.Err)
			code = max(code, cli.Refused)
		case s.attention():
			code = max(code, cli.No)
		}
		if s.Missing != "" {
			cmd.Warn("%s: %s", s.Name, s.Missing)
		}
	}
	return cli.Exit(code)
}

// target is what is shown, by the name that the table has for it.
type target struct {
	service.Target
	name  string
	asked bool // it was named in the arguments
}
