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
	Above       []int // its parent and all above that
	Supervisors []int // of these, the one that supervises the caller, and all above it
}

var supervisors = []string{"runsv", "runsvdir", "s6-supervise", "s6-svscan", "supervise", "svscan", "systemd", "init"}

// Self finds out what the caller belongs to: of the processes above it, the
// first that has the name of a supervisor, and those above that. A process that
// it cannot open it cannot signal either, so that the search ends there.
func Self() Own {
	own := Own{PID: os.Getpid(), PGID: unix.Getpgrp()}
	supervised := false
	for pid := os.Getppid(); pid > 0; {
		p, err := Open(pid)
		if err != nil {
			break
		}
		s, errStat := p.Stat()
		comm, errComm := p.ReadFile("comm")
		p.Close()
		if errStat != nil || errComm != nil {
			break
		}
		own.Above = append(own.Above, pid)
		supervised = supervised || slices.Contains(supervisors, strings.TrimSuffix(string(comm), "\n"))
		if supervised {
			own.Supervisors = append(own.Supervisors, pid)
		}
		pid = s.PPID
	}
	return own
}
