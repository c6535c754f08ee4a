package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Environ reads the environment that the process was started with, from
// /proc/PID/environ. It is what is there now: a program that writes its title over
// it, as Ruby does, shows the title, and a name may come twice. ErrGone if the
// process has ended, ErrHidden if /proc hides it.
//
// The kernel asks for what ptrace(2) needs. Root without CAP_SYS_PTRACE, which is
// root in a container, is refused unless it opens the file with the ids of the
// process: see openAs.
func (p *Process) Environ() ([]string, error) {
	fd, err := p.open("environ")
	if errors.Is(err, unix.EACCES) && os.Geteuid() == 0 {
		var s Status
		if s, err = p.Status(); err == nil {
			fd, err = p.openAs("environ", s.UID, s.GID)
		}
	}
	if errors.Is(err, ErrGone) || errors.Is(err, ErrHidden) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read /proc/%d/environ: %w", p.ID.PID, err)
	}
	defer unix.Close(fd)
	text, err := readAll(fd, nil)
	if err != nil {
		return nil, err
	}
	var environ []string
	for _, variable := range bytes.Split(text, []byte{0}) {
		if len(variable) > 0 {
			environ = append(environ, string(variable))
		}
	}
	return environ, nil
}

// openAs opens a file of the process's directory with the filesystem ids of a
// user. These belong to a thread, and a signal is not checked against them, so
// that the user cannot signal this process meanwhile, as it could with the
// effective uid. The kernel checks at open alone, so that one thread has them
// around that alone.
func (p *Process) openAs(name string, uid, gid int) (fd int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		ownGID, _ := unix.SetfsgidRetGid(gid) // before the uid, while the thread may
		ownUID, _ := unix.SetfsuidRetUid(uid)
		fd, err = p.open(name)
		unix.SetfsuidRetUid(ownUID)
		unix.SetfsgidRetGid(ownGID)
		// An invalid id changes nothing and returns the one there is.
		restoredUID, _ := unix.SetfsuidRetUid(-1)
		restoredGID, _ := unix.SetfsgidRetGid(-1)
		if restoredUID == ownUID && restoredGID == ownGID {
			runtime.UnlockOSThread() // otherwise the thread ends with the goroutine
		}
	}()
	<-done
	return fd, err
}
