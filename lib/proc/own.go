package proc

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Own is what the calling process belongs to, and so must not signal.
type Own struct {
	PID, PGID   int
	Supervisors []int // the process that supervises the caller, and all above it
}

var supervisors = []string{"runsv", "runsvdir", "s6-supervise", "s6-svscan", "supervise", "svscan", "systemd", "init"}

// Self finds out what the caller belongs to: of the processes above it, the
// first that has the name of a supervisor, and those above that.
func Self() (Own, error) {
	own := Own{PID: os.Getpid(), PGID: unix.Getpgrp()}
	supervised := false
	for pid := os.Getppid(); pid > 0; {
		p, err := Open(pid)
		if err != nil {
			return own, err
		}
		s, errStat := p.Stat()
		comm, errComm := p.ReadFile("comm")
		p.Close()
		if errStat != nil || errComm != nil {
			break // it ended just now, and so the caller has another parent
		}
		supervised = supervised || slices.Contains(supervisors, strings.TrimSuffix(string(comm), "\n"))
		if supervised {
			own.Supervisors = append(own.Supervisors, pid)
		}
		pid = s.PPID
	}
	return own, nil
}
