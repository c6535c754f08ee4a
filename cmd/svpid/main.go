// Command svpid prints the identity (pid and start time) of each target.
package main

import (
	"encoding/json"
	"errors"
	"math"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

const usage = `usage: svpid [-j] TARGET...

Print the identity, PID:STARTTIME, of each target's process, a line each.

TARGET  1234           the process with this pid
        1234:5678901   this very process: pid, and start time in clock ticks
                       since boot
        a directory    a service directory of runsv or s6-supervise: what its
                       ./run became
        a file         a pidfile, or an identity file of pgexec

  -j, --json     JSON lines: pid, start, pgid, sid, ppid, state, service,
                 uptime_s
  -q, --quiet    only errors: a target that has no process is no error
  -v, --verbose  more messages
  -h, --help     this text
      --version  the version

Exit: 0 all have a process; 1 one has none now; 100 used wrongly;
      111 one cannot be looked at (stale, unsupervised, or others could write
      it).
`

// description is the JSON of a process; numbers as in proc_pid_stat(5).
type description struct {
	PID     int     `json:"pid"`
	Start   uint64  `json:"start"` // clock ticks since boot
	PGID    int     `json:"pgid"`
	SID     int     `json:"sid"`
	PPID    int     `json:"ppid"`
	State   string  `json:"state"`    // R S D T t
	Service *string `json:"service"`  // the service directory as it was given; null if the target is none
	Uptime  float64 `json:"uptime_s"` // seconds
}

func main() { cli.Main("svpid", usage, run) }

func run(cmd *cli.Command) error {
	asJSON := cmd.Bool("json", "j")
	words, err := cmd.Args(1, -1)
	if err != nil {
		return err
	}
	targets, err := service.ParseAll(words)
	if err != nil {
		return cli.Misuse(err)
	}
	worst := cli.Yes
	for _, target := range targets {
		line, err := describe(target, *asJSON)
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

func describe(target service.Target, asJSON bool) (string, error) {
	p, err := target.Open()
	if err != nil {
		return "", err
	}
	defer p.Close()
	if !asJSON {
		return p.ID.String(), nil
	}
	s, err := p.Stat()
	if err != nil {
		return "", err
	}
	d := description{PID: s.PID, Start: s.Start, PGID: s.PGID, SID: s.Session, PPID: s.PPID,
		State: string(rune(s.State)), Uptime: math.Round((proc.Now()-p.ID.StartTime()).Seconds()*100) / 100}
	if target.IsDirectory() {
		d.Service = &target.Text
	}
	line, err := json.Marshal(d)
	return string(line), err
}
