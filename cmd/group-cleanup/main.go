// Command group-cleanup is for finish scripts: it ends what a process of the
// service has left behind.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/service"
)

const usage = `usage: group-cleanup [FILE [PGID]]

For finish scripts: end what the process named in FILE has left behind, with
TERM and KILL: its process group, its session, its descendants, and the
processes that carry its mark (see pgsignal, @all). Then remove FILE.

FILE  an identity file that pgexec -f wrote; default: supervise/pgid. If it does
      not exist, is empty or torn, or is of an earlier boot, it names nothing
PGID  the process group of the ./run that has just exited, which s6 passes to
      ./finish as the fourth argument from 2.13 on; may be empty

KILL comes 5 s after TERM under runsv, 3 s after it elsewhere, because s6 kills
./finish after 5 s.

  -q, --quiet    print errors only
  -v, --verbose  print each signal
  -h, --help     print this text
      --version  print the version

Exit: 0 nothing is left; 1 a process survived KILL; 100 wrong usage; 111 FILE or
      a signal was refused. Never 125, which takes an s6 service down.
`

const (
	runsvSchedule = "TERM@all/5/KILL@all/5"
	otherSchedule = "TERM@all/3/KILL@all/1" // s6-supervise's default for timeout-finish is 5 s
)

func main() { cli.Main("group-cleanup", usage, run) }

func run(cmd *cli.Command) error {
	words, err := cmd.Args(0, 2)
	if err != nil {
		return err
	}
	file, pgid := "supervise/pgid", 0
	if len(words) > 0 {
		file = words[0]
	}
	if file == "" {
		return cli.Misuse(errors.New(`invalid file "" (want a path such as supervise/pgid)`))
	}
	if len(words) > 1 && words[1] != "" {
		if pgid, err = parsePGID(words[1]); err != nil {
			return cli.Misuse(err)
		}
	}
	steps, err := schedule.Parse(timing())
	if err != nil {
		return err
	}

	noted, errFile := readFile(cmd, file)
	leaders := []proc.ID{}
	if noted != (proc.ID{}) {
		leaders = append(leaders, noted)
	}
	if pgid != 0 && pgid != noted.PID { // FILE has the start time too, so it is better where both name the same
		if id, ok := deadLeader(pgid); ok {
			leaders = append(leaders, id)
		}
	}
	left, errs := endAll(cmd, leaders, steps)
	if noted != (proc.ID{}) && len(left[0]) == 0 && errs[0] == nil {
		errFile = removeFile(file, noted)
	}
	if err := errors.Join(append(errs, errFile)...); err != nil {
		return err
	}
	for _, ids := range left {
		if len(ids) > 0 {
			cmd.Warn("left after KILL: %s", schedule.Describe(ids))
			err = cli.Exit(cli.No)
		}
	}
	return err
}

func parsePGID(word string) (int, error) {
	pgid, err := proc.ParsePID(word)
	if err != nil || pgid == 1 {
		return 0, fmt.Errorf("invalid process group %q (want a number from 2 to %d: the fourth argument of ./finish, from s6 2.13 on)", word, proc.PIDMax)
	}
	return pgid, nil
}

// timing is the schedule that there is time for.
func timing() string {
	if info, err := os.Stat("supervise/ok"); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return runsvSchedule
	}
	return otherSchedule
}

// readFile reads the identity in FILE; none if it names no process of this boot.
func readFile(cmd *cli.Command, file string) (proc.ID, error) {
	dir, name, err := service.OpenParent(file)
	if errors.Is(err, fs.ErrNotExist) {
		return proc.ID{}, nil
	}
	if err != nil {
		return proc.ID{}, err
	}
	defer dir.Close()
	id, err := service.ReadID(dir, name)
	if errors.Is(err, proc.ErrGone) {
		cmd.Info("%v", err)
		return proc.ID{}, nil
	}
	return id, err
}

// removeFile removes FILE, unless a new process has written it meanwhile.
func removeFile(file string, noted proc.ID) error {
	dir, name, err := service.OpenParent(file)
	if err != nil {
		return err
	}
	defer dir.Close()
	if id, err := service.ReadID(dir, name); err != nil || id != noted {
		return nil
	}
	return dir.Remove(name)
}

// deadLeader is an identity for a process group of which the leader's start time
// is not known: none of its members started before its s6-supervise, or, where
// that runs no finish script, before the boot. The leader has exited: a process
// that has the number now has nothing to do with the group.
func deadLeader(pgid int) (proc.ID, bool) {
	p, err := proc.Open(pgid)
	if err == nil {
		p.Close()
	}
	if !errors.Is(err, proc.ErrGone) {
		return proc.ID{}, false
	}
	return proc.ID{PID: pgid, Start: supervisorStart()}, true
}

// supervisorStart is the start time of the s6-supervise above this process, which
// need not be its parent, because ./finish need not exec it; 0 if there is none.
func supervisorStart() uint64 {
	for _, a := range proc.Ancestors(os.Getppid()) {
		if a.Name == "s6-supervise" {
			return a.ID.Start
		}
	}
	return 0
}

// endAll ends what belongs to the leaders, all at once because time is short, and
// returns what is left of each.
func endAll(cmd *cli.Command, leaders []proc.ID, steps schedule.Schedule) (left [][]proc.ID, errs []error) {
	left, errs = make([][]proc.ID, len(leaders)), make([]error, len(leaders))
	var wait sync.WaitGroup
	for i, id := range leaders {
		wait.Go(func() { left[i], errs[i] = end(cmd, id, steps) })
	}
	wait.Wait()
	return left, errs
}

func end(cmd *cli.Command, id proc.ID, steps schedule.Schedule) ([]proc.ID, error) {
	r := schedule.Run{ID: id, Warn: cmd.Warn, Info: cmd.Info}
	p, err := proc.OpenID(id)
	if err != nil && !errors.Is(err, proc.ErrGone) {
		return nil, err
	}
	if err == nil { // FILE can name a process that is not the service's own
		defer p.Close()
		r.Process = p
	}
	return r.Do(steps)
}
