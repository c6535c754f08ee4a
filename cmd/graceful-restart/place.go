package main

import (
	"errors"
	"fmt"
	"io/fs"
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
	service service.Target // where the new process is found, if it can be
	dir     string         // the service directory; "": none is known
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
	return here
}

// follows tells whether service names the new process as well.
func (pl *place) follows() bool { return pl.dir != "" || isPidfile(pl.service) }

func (pl *place) noSupervisor() error {
	return fmt.Errorf("--up: %s has no known supervisor (runsv or s6-supervise), so its new process cannot be waited for", pl.service.Text)
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
	if p.ID == pl.target.ID || !slices.ContainsFunc(above(pl.target), func(a proc.Ancestor) bool { return a.ID == p.ID }) {
		p.Close()
		if p.ID == pl.target.ID {
			pl.service = whole
		}
		return
	}
	cmd.Info("restarting all of %s (%v), because %v is one of its workers (MEMORY_KILLER_RESTART=worker restarts it alone)", text, p.ID, pl.target.ID)
	pl.target, pl.service = p, whole
}

// above lists the processes above p.
func above(p *proc.Process) []proc.Ancestor {
	s, err := p.Stat()
	if err != nil {
		return nil
	}
	return proc.Ancestors(s.PPID)
}

// belowSupervisor are the processes above a worker that belong to its service:
// those below the supervisor, or up to the target where there is none.
func (pl *place) belowSupervisor(worker *proc.Process) []proc.Ancestor {
	list := above(worker)
	if i := slices.IndexFunc(list, proc.Ancestor.HasService); i >= 0 {
		return list[:i]
	}
	return list[:slices.IndexFunc(list, func(a proc.Ancestor) bool { return a.ID == pl.target.ID })+1]
}

// supervisedIn is the service directory of the supervisor above a process.
func supervisedIn(p *proc.Process) string {
	list := above(p)
	i := slices.IndexFunc(list, proc.Ancestor.HasService)
	if i < 0 {
		return ""
	}
	dir, err := os.Readlink("/proc/" + strconv.Itoa(list[i].ID.PID) + "/cwd")
	if err != nil || !strings.HasPrefix(dir, "/") {
		return ""
	}
	return dir
}

const (
	upTime     = 60 * time.Second       // for the supervisor to start the new process
	upInterval = 100 * time.Millisecond // between two checks
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
		} else if !errors.Is(err, proc.ErrGone) && !errors.Is(err, fs.ErrNotExist) { // the old process may remove its pidfile
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
