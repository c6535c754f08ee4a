package proc

import (
	"os"
	"slices"
	"strconv"

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
// it cannot open it cannot signal either.
func Self() Own {
	own := Own{PID: os.Getpid(), PGID: unix.Getpgrp()}
	supervised := false
	for _, a := range Ancestors(os.Getppid()) {
		own.Above = append(own.Above, a.ID.PID)
		supervised = supervised || slices.Contains(supervisors, a.Name)
		if supervised {
			own.Supervisors = append(own.Supervisors, a.ID.PID)
		}
	}
	return own
}

// Ancestor is a process above another.
type Ancestor struct {
	ID   ID
	Name string // as ps prints it
}

// HasService tells whether it is a supervisor of one service, whose directory is
// its current directory.
func (a Ancestor) HasService() bool { return a.Name == "runsv" || a.Name == "s6-supervise" }

// Ancestors are a process's parent, which has this pid, and those above it, the
// nearest first, up to process 1. They end where one cannot be read. Each is as
// its /proc/PID/stat was in one reading: its identity, its name and its parent.
func Ancestors(ppid int) (list []Ancestor) {
	scan := NewScanner()
	defer scan.Close()
	for pid := ppid; pid > 0; {
		text, err := scan.read(strconv.Itoa(pid) + "/stat")
		if err != nil {
			break
		}
		s, err := ParseStat(text)
		if err != nil || s.Ended() {
			break
		}
		list = append(list, Ancestor{ID{pid, s.Start}, nameIn(text)})
		pid = s.PPID
	}
	return list
}
