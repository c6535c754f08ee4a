// Command pgexec makes a process group that can be found again, and becomes a
// program in it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

const usage = `usage: pgexec [-s] [-c] [-f FILE] prog...

Become the leader of a new process group, and then prog. Where it leads one
already, that is fine.

  -s, --session    of a new session too, without a controlling terminal
  -c, --close-fds  pass on no descriptor above 2 (stderr)
  -f, --file FILE  write the identity, PID:STARTTIME, to FILE, for
                   pgsignal FILE TERM/5/KILL/5 in a finish script
  -q, --quiet      only errors
  -v, --verbose    more messages
  -h, --help       this text
      --version    the version

Exit: 100 used wrongly; 111 no group, or FILE cannot be written; 126 prog cannot
      be run; 127 prog was not found; else what prog exits with.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, cli.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	cmd := cli.New("pgexec", usage, stdout, stderr)
	session, file := cmd.Bool("session", "s"), cmd.String("file", "f")
	closeFds := cmd.Bool("close-fds", "c")
	prog, code := cmd.Parse(args, 1, -1)
	if code != cli.Continue {
		return code
	}
	if cmd.Given("file") && *file == "" {
		return cmd.Misused(errors.New(`--file: "" is no file (supervise/pgid)`))
	}
	lead := leadGroup
	if *session {
		lead = leadSession
	}
	if err := lead(); err != nil {
		return cmd.Refused(err)
	}
	if cmd.Given("file") {
		if err := record(*file); err != nil {
			return cmd.Refused(err)
		}
	}
	if *closeFds {
		if err := closeOnExec(); err != nil {
			return cmd.Refused(err)
		}
	}
	return cmd.Exec(prog)
}

// leadGroup makes this process lead its group.
func leadGroup() error {
	if unix.Getpgrp() == unix.Getpid() { // a session leader too, for which setpgid would fail
		return nil
	}
	if err := unix.Setpgid(0, 0); err != nil {
		return fmt.Errorf("no new process group: %w", err)
	}
	return nil
}

// leadSession makes this process lead its session.
func leadSession() error {
	pid := unix.Getpid()
	if sid, err := unix.Getsid(0); err == nil && sid == pid {
		return nil
	}
	if unix.Getpgrp() == pid {
		// The leader of a group cannot make a session: it joins its parent's group first.
		if pgid, err := unix.Getpgid(unix.Getppid()); err == nil {
			unix.Setpgid(0, pgid) // setsid says whether that helped
		}
	}
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("no new session (process %d leads a group that others are in): %w", pid, err)
	}
	return nil
}

// record writes the identity of this process, which survives exec.
func record(file string) error {
	p, err := proc.Open(unix.Getpid())
	if err != nil {
		return err
	}
	defer p.Close()
	d, name, err := service.OpenParent(file)
	if err != nil {
		return err
	}
	defer d.Close()
	return service.WriteID(d, name, p.ID)
}

// closeOnExec has everything above stderr closed by exec: a program that is left
// behind holds no lock, pipe or notification-fd of those who started it.
func closeOnExec() error {
	dir, err := os.Open("/proc/self/fd") // close_range(2) with CLOEXEC needs Linux 5.11
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, _ := strconv.Atoi(name); fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return err
}
