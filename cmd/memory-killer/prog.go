package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// lockWait is how long a watcher waits for the one of the process before, which
// may still be at its restart.
const lockWait = "60s"

// become leaves gracewatch in the background and becomes a program. Only a wrong
// setting, or a program that cannot be run, keeps it from starting.
func (k *killer) become(prog []string) error {
	file, err := cli.Find(prog[0])
	if err != nil {
		return err
	}
	directory, writable := serviceDirectory()
	name := directory
	if name == "" {
		name = "." // without a supervisor, or with one that may not be looked at
	}
	control, err := k.control(name)
	if err != nil {
		return err
	}
	argv := append(k.gracewatch(), control...)
	argv = append(argv, k.stateOf(directory, writable)...)
	id, err := ownID()
	if err == nil {
		argv = append(append(argv, id.String()), k.restart()...) // exec keeps the identity
	}
	if k.dryRun {
		if err != nil {
			return err
		}
		return k.exec(argv)
	}
	if os.Getpid() == 1 {
		k.cmd.Warn("this is pid 1, which is never signalled: without an init above it (docker run --init, tini) it cannot be restarted")
	}
	k.makeNotes(directory)
	if len(control) > 0 {
		replaceFIFO(control[1])
	}
	if err == nil {
		err = detach(argv)
	}
	if err != nil {
		k.cmd.Error("%s is not watched: %v", prog[0], err)
	}
	return cli.ExecFile(file, prog)
}

// ownID is the identity of this process. Where it cannot be held by a pidfd, a
// watcher could not hold it either.
func ownID() (proc.ID, error) {
	p, err := proc.Open(os.Getpid())
	if err != nil {
		return proc.ID{}, err
	}
	defer p.Close()
	return p.ID, nil
}

// stateOf returns the options of gracewatch for its state: in the service
// directory, so that the watcher of the next process goes on with the back-off
// and with a restart that was begun; else where the settings or systemd say.
func (k *killer) stateOf(directory string, writable bool) []string {
	file := k.values.State
	if directory != "" && writable {
		file = filepath.Join(directory, "supervise/gracewatch")
	} else if state, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); file == "" && state != "" { // systemd.exec(5): paths, with colons
		file = filepath.Join(state, "gracewatch")
	}
	if file != "" {
		return []string{"--state", file, "--history", file + ".history", "--wait-lock", lockWait}
	}
	if !k.values.Soft.IsZero() || !k.values.Hard.IsZero() || k.values.MaxAge > 0 {
		k.cmd.Warn("no state is kept, so the next watcher will not know of a limit that is too low: no service directory is writable above this process, " +
			"and neither MEMORY_KILLER_STATE nor STATE_DIRECTORY is set")
	}
	return nil
}

// serviceDirectory is that of the supervisor above this process; "" if there is
// none. Supervisors work in it.
func serviceDirectory() (directory string, writable bool) {
	for _, a := range proc.Ancestors(os.Getppid()) {
		if !a.HasService() {
			continue
		}
		directory, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", a.ID.PID))
		if err != nil {
			return "", false
		}
		target, err := service.Parse(directory)
		if err != nil {
			return "", false
		}
		supervise, err := target.OpenSupervise()
		if err != nil {
			return directory, false
		}
		supervise.Close()
		err = unix.Faccessat(unix.AT_FDCWD, filepath.Join(directory, "supervise"), unix.W_OK, unix.AT_EACCESS)
		return directory, err == nil
	}
	return "", false
}

// replaceFIFO has prog's job hook find the FIFO, and removes the one that the
// watcher before this one may still read.
func replaceFIFO(path string) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO && int(st.Uid) == os.Geteuid() {
		os.Remove(path)
	}
	os.Setenv("MEMORY_KILLER_CONTROL", path)
}

// detachedName is the name under which this program starts itself to leave a
// watcher behind.
const detachedName = "memory-killer: detach"

// detach starts a command line that is nobody's child. A child of ours would
// become one of prog, which does not know of it, would be counted among its
// processes, and would be a zombie in the end. So this program is started once
// more, and exits as soon as it has started the watcher.
func detach(argv []string) error {
	file, err := cli.Find(argv[0])
	if err != nil {
		return err
	}
	c := exec.Command("/proc/self/exe", append([]string{full(file)}, argv...)...)
	c.Args[0] = detachedName
	c.Dir, c.Stderr = "/", os.Stderr
	c.Env = proc.WithoutMark(os.Environ())
	why, err := c.Output()
	if len(why) > 0 {
		err = errors.New(string(why))
	}
	if err != nil {
		return fmt.Errorf("cannot start the watcher: %w", err)
	}
	return nil
}

// startDetached starts the watcher in a session of its own, where no signal to
// prog's group or terminal reaches it. It holds nothing of the caller but stderr.
// What went wrong is printed for detach, so that it is logged in one line.
func startDetached(file string, argv []string) (code int) {
	err := cli.CloseOnExec()
	if err == nil {
		var null *os.File
		if null, err = os.OpenFile("/dev/null", os.O_RDWR, 0); err == nil {
			_, err = os.StartProcess(file, argv, &os.ProcAttr{
				Dir: "/", Files: []*os.File{null, null, os.Stderr}, Sys: &syscall.SysProcAttr{Setsid: true}})
		}
	}
	if err != nil {
		fmt.Print(err)
		return cli.Refused
	}
	return cli.Yes
}
