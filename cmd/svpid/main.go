// Command svpid prints the identity (pid and start time) of each target.
package main

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

const usage = `usage: svpid [-p | -j] TARGET...

Print the identity, PID:STARTTIME, of each target's process, one per line.

TARGET  1234           the process with this pid
        1234:5678901   only this very process: pid, and start time in clock
                       ticks since boot
        sidekiq        a service: in $SVDIR alone if that is set, otherwise in
                       /etc/service, /run/service or /service; a path if there
                       is none
        a directory    a service directory of runsv or s6-supervise: the process
                       that its ./run became
        a file         a pidfile, or an identity file written by pgexec

  -p, --pid      print pids alone
  -j, --json     print JSON lines: pid, start, pgid, sid, ppid, state, service,
                 uptime_s
  -q, --quiet    print only errors; a target without a process is not one
  -v, --verbose  print more messages
  -h, --help     print this text
      --version  print the version

Exit: 0 every target has a process; 1 one has none now; 100 used wrongly;
      111 one was refused (it has no supervisor, others could have written it,
      or the process is hidden)
`

// description is the JSON of a process; numbers as in proc_pid_stat(5).
type description struct {
	PID     int     `json:"pid"`
	Start   uint64  `json:"start"` // clock ticks since boot
	PGID    int     `json:"pgid"`
	SID     int     `json:"sid"`
	PPID    int     `json:"ppid"`
	State   string  `json:"state"`    // R S D T t
	Service *string `json:"service"`  // the path of the service directory; null if the target is something else
	Uptime  float64 `json:"uptime_s"` // seconds
}

func main() { cli.Main("svpid", usage, run) }

func run(cmd *cli.Command) error {
	asJSON, asPID := cmd.Bool("json", "j"), cmd.Bool("pid", "p")
	words, err := cmd.Args(1, -1)
	if err != nil {
		return err
	}
	if *asJSON && *asPID {
		return cli.Misusef("--pid: cannot be combined with --json")
	}
	format := identity
	switch {
	case *asPID:
		format = pid
	case *asJSON:
		format = describe
	}
	targets, err := service.ParseAll(words)
	if err != nil {
		return cli.Misuse(err)
	}
	worst := cli.Yes
	for _, target := range targets {
		line, err := resolve(target, format)
		switch {
		case err == nil:
			if err := cmd.Write(line + "\n"); err != nil {
				return err
			}
		case errors.Is(err, proc.ErrGone):
			cmd.Warn("%v", err)
			worst = max(worst, cli.No)
		default:
			cmd.Error("%v", err)
			worst = cli.Refused
		}
	}
	return cli.Exit(worst)
}

// resolve is the line that is printed of a target.
func resolve(target service.Target, format func(service.Target, *proc.Process) (string, error)) (string, error) {
	p, err := target.Open()
	if err != nil {
		return "", err
	}
	defer p.Close()
	return format(target, p)
}

func identity(_ service.Target, p *proc.Process) (string, error) { return p.ID.String(), nil }

func pid(_ service.Target, p *proc.Process) (string, error) { return strconv.Itoa(p.ID.PID), nil }

func describe(target service.Target, p *proc.Process) (string, error) {
	s, err := p.Stat()
	if err != nil {
		return "", err
	}
	d := description{PID: s.PID, Start: s.Start, PGID: s.PGID, SID: s.Session, PPID: s.PPID,
		State: string(rune(s.State)), Uptime: math.Round((proc.Now()-p.ID.StartTime()).Seconds()*100) / 100}
	if directory := target.Service(); directory != "" {
		d.Service = &directory
	}
	line, err := json.Marshal(d)
	return string(line), err
}
