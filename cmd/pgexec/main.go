// Command pgexec makes a process group that can be found again, and becomes a
// program in it.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

const usage = `usage: pgexec [-s] [-c] [-f FILE] [-p PIDFILE] prog...

Become the leader of a new process group, and then prog. A process that leads
its group already keeps it. PGEXEC_ID=PID:START in the environment of prog marks
the processes that it starts, for pgsignal FILE TERM@all (see pgsignal).

  -s, --session          lead a new session too, without controlling terminal
  -c, --close-fds        pass on no descriptor above 2 (stderr)
  -f, --file FILE        write the identity, PID:START, to FILE, for
                         group-cleanup or pgsignal in a finish script
  -p, --pidfile PIDFILE  write the plain pid to PIDFILE
  -q, --quiet            print errors only
  -v, --verbose          print more messages
  -h, --help             print this text
      --version          print the version

If FILE or PIDFILE cannot be written, that is logged as an error and prog is run
all the same. To start a program that must outlive prog: env -u PGEXEC_ID.

Exit: 100 wrong usage; 111 no new group or session; 126 prog cannot be run; 127
      prog was not found; otherwise what prog exits with.
`

func main() { cli.Main("pgexec", usage, run) }

func run(cmd *cli.Command) error {
	session, closeFds := cmd.Bool("session", "s"), cmd.Bool("close-fds", "c")
	file, pidfile := cmd.String("file", "f"), cmd.String("pidfile", "p")
	prog, err := cmd.Args(1, -1)
	if err != nil {
		return err
	}
	if cmd.Given("file") && *file == "" {
		return cli.Misusef(`--file: invalid path "" (want for example supervise/pgid)`)
	}
	if cmd.Given("pidfile") && *pidfile == "" {
		return cli.Misusef(`--pidfile: invalid path "" (want for example tmp/pids/sidekiq.pid)`)
	}
	lead := leadGroup
	if *session {
		lead = leadSession
	}
	if err := lead(); err != nil {
		return err
	}
	// The program comes first: from here on it is run, with or without files.
	id, errID := ownID()
	if errID == nil {
		os.Setenv(proc.MarkVariable, id.String())
	} else {
		os.Unsetenv(proc.MarkVariable) // an inherited one names another service
		cmd.Error("cannot read the identity of this process: %v", errID)
	}
	if cmd.Given("file") {
		if err := writeID(*file, id, errID); err != nil {
			cmd.Error("%v", err)
		}
	}
	if cmd.Given("pidfile") {
		if err := writePID(*pidfile); err != nil {
			cmd.Error("%v", err)
		}
	}
	if *closeFds {
		if err := cli.CloseOnExec(); err != nil {
			cmd.Error("cannot close the descriptors above 2: %v", err)
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
		return fmt.Errorf("cannot make a process group: %w", err)
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
			unix.Setpgid(0, pgid) // setsid fails if that did not help
		}
	}
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("cannot make a session: process %d leads a group that others are in: %w", pid, err)
	}
	return nil
}

// ownID is the identity of this process, which survives exec. It needs no pidfd,
// because the process is there as long as it asks.
func ownID() (proc.ID, error) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return proc.ID{}, err
	}
	s, err := proc.ParseStat(text)
	if err == nil && s.PID != os.Getpid() {
		err = fmt.Errorf("/proc is that of another pid namespace: this process is %d there, and %d here", s.PID, os.Getpid())
	}
	return s.ID(), err
}

// writeID writes an identity file. If the identity is not known, the file of an
// earlier process is removed.
func writeID(file string, id proc.ID, errID error) error {
	dir, name, err := service.OpenParent(file)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", file, err)
	}
	defer dir.Close()
	if errID != nil {
		removeOld(dir, name)
		return nil // logged already
	}
	return service.WriteID(dir, name, id)
}

// writePID writes a pidfile, and removes that of an earlier process if it cannot.
func writePID(file string) error {
	dir, name, err := service.OpenParent(file)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", file, err)
	}
	defer dir.Close()
	if err = dir.WriteFile(name, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		removeOld(dir, name)
	}
	return err
}

// removeOld removes a file that names an earlier process. It leaves alone what
// cannot be such a file, for example /dev/null.
func removeOld(dir *service.Dir, name string) {
	if f, err := dir.OpenFile(name, os.O_RDONLY, 0); err == nil {
		f.Close()
		dir.Remove(name)
	}
}
