package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// place is what is restarted, and what starts the new process.
type place struct {
	target  *proc.Process
	service service.Target // what is looked at for the new process, if it can be
	follows bool           // service names the new process as well
	dir     string         // the service directory; "": none is known
}

// supervisors are those whose current directory is the service directory.
var supervisors = []string{"runsv", "s6-supervise"}

// readAlone reads whether one worker of several is restarted alone.
func readAlone() (bool, error) {
	switch text := os.Getenv("MEMORY_KILLER_RESTART"); text {
	case "", "service":
		return false, nil
	case "worker":
		return true, nil
	default:
		return false, fmt.Errorf("MEMORY_KILLER_RESTART: invalid value %q (want service or worker)", text)
	}
}

// findPlace finds out what the target is a part of.
func findPlace(cmd *cli.Command, target service.Target, p *proc.Process, alone bool) place {
	here := place{target: p, service: target}
	if !alone {
		here.widen(cmd)
	}
	here.dir = directoryOf(here.service)
	if here.dir == "" {
		if dir := supervisedIn(here.target); dir != "" {
			here.dir = dir
			here.service, _ = service.Parse(dir)
		}
	}
	here.follows = here.dir != "" || isPidfile(here.service)
	return here
}

// widen makes the target the whole service that gracewatch watches, if it is one
// of several workers below the service's own process: a parent may end all its
// children when one ends, and cut their jobs.
func (pl *place) widen(cmd *cli.Command) {
	text := os.Getenv("GRACE_SERVICE")
	if text == "" {
		return
	}
	whole, err := service.Parse(text)
	if err != nil {
		cmd.Warn("ignored: GRACE_SERVICE: %v", err)
		return
	}
	p, err := whole.Open()
	if err != nil {
		cmd.Warn("restarting %v alone: %v", pl.target.ID, err)
		return
	}
	if p.ID == pl.target.ID || !slices.ContainsFunc(above(pl.target), func(a ancestor) bool { return a.id == p.ID }) {
		p.Close()
		if p.ID == pl.target.ID {
			pl.service = whole
		}
		return
	}
	cmd.Info("restarting all of %s (%v), because %v is one of its workers (MEMORY_KILLER_RESTART=worker restarts it alone)", text, p.ID, pl.target.ID)
	pl.target, pl.service = p, whole
}

// ancestor is a process above another.
type ancestor struct {
	id   proc.ID
	name string
}

// above lists the processes above p, nearest first, up to process 1. It ends
// where one cannot be read.
func above(p *proc.Process) (list []ancestor) {
	s, err := p.Stat()
	for err == nil && s.PPID > 0 {
		var parent *proc.Process
		if parent, err = proc.Open(s.PPID); err != nil {
			break
		}
		var comm []byte
		comm, err = parent.ReadFile("comm")
		if err == nil {
			list = append(list, ancestor{parent.ID, strings.TrimSuffix(string(comm), "\n")})
			s, err = parent.Stat()
		}
		parent.Close()
	}
	return list
}

// belowSupervisor are the processes above a worker that belong to its service:
// those below the supervisor, or up to the target where there is none.
func (pl *place) belowSupervisor(worker *proc.Process) []ancestor {
	list := above(worker)
	if i := slices.IndexFunc(list, isSupervisor); i >= 0 {
		return list[:i]
	}
	return list[:slices.IndexFunc(list, func(a ancestor) bool { return a.id == pl.target.ID })+1]
}

func isSupervisor(a ancestor) bool { return slices.Contains(supervisors, a.name) }

// supervisedIn is the service directory of the supervisor above a process.
func supervisedIn(p *proc.Process) string {
	list := above(p)
	i := slices.IndexFunc(list, isSupervisor)
	if i < 0 {
		return ""
	}
	dir, err := os.Readlink("/proc/" + strconv.Itoa(list[i].id.PID) + "/cwd")
	if err != nil || !strings.HasPrefix(dir, "/") {
		return ""
	}
	return dir
}

const (
	upTime     = 60 * time.Second       // for the supervisor to start the new process
	upInterval = 100 * time.Millisecond // between two looks
)

// awaitNew waits for a process that is not the old one.
func (pl *place) awaitNew(cmd *cli.Command, old proc.ID) error {
	deadline := time.Now().Add(upTime)
	for {
		p, err := pl.service.Open()
		if err == nil {
			id := p.ID
			p.Close()
			if id != old {
				cmd.Info("%s: the new process is %v", pl.service.Text, id)
				return nil
			}
		} else if !errors.Is(err, proc.ErrGone) {
			return err
		} else if pl.isWantedDown() {
			cmd.Warn("%s is wanted down: nothing will start a new process", pl.service.Text)
			return cli.Exit(cli.No)
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("%s has no new process after %v", pl.service.Text, upTime)
		}
		time.Sleep(upInterval)
	}
}

// isWantedDown tells whether an operator wants the service to be down.
func (pl *place) isWantedDown() bool {
	if pl.dir == "" {
		return false
	}
	wanted, err := pl.service.WantedState()
	return err == nil && !wanted.Up
}
