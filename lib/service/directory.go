package service

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// openDirectory opens the process that the ./run of a service directory became.
// The flag is O_NOFOLLOW, or 0.
func openDirectory(path string, flag int) (*proc.Process, error) {
	dir, supervise, err := openSupervise(path, flag)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir.fd)
	defer unix.Close(supervise.fd)
	// The status that led to a pid must still be there when the process is
	// held; a service restarts no more than once a second, so twice is much.
	for range 10 {
		before, err := supervise.readStatus()
		if errors.Is(err, unix.ENOENT) && supervise.alive("control") == nil { // both supervisors have that first
			return nil, &GoneError{Why: "its supervisor has only just started: there is no supervise/status yet"}
		}
		if err != nil {
			return nil, err
		}
		p, err := supervise.open(before)
		after, errAfter := supervise.readStatus()
		if errAfter == nil && bytes.Equal(before, after) {
			if err != nil {
				return nil, err
			}
			for _, uid := range []int{dir.uid, supervise.uid} {
				if err := checkOwner(uid, p); err != nil {
					p.Close()
					return nil, err
				}
			}
			return p, nil
		}
		if err == nil {
			p.Close()
		}
		if errAfter != nil {
			return nil, errAfter
		}
	}
	return nil, errors.New("supervise/status changes faster than it can be read")
}

// Wanted reads what the operator wants of the service that the target is. An
// error: nothing supervises it, so that nothing would start it again.
func (t Target) WantedState() (WantedState, error) {
	dir, supervise, err := openSupervise(t.path, 0)
	if err != nil {
		return WantedState{}, fmt.Errorf("%s: %w", t.Text, err)
	}
	defer unix.Close(dir.fd)
	defer unix.Close(supervise.fd)
	text, err := supervise.readStatus()
	var s status
	if err == nil {
		s, err = parseStatus(text)
	}
	if err == nil {
		err = supervise.alive(s.fifo)
	}
	if err != nil {
		return WantedState{}, fmt.Errorf("%s: %w", t.Text, err)
	}
	return s.wanted, nil
}

// openSupervise opens a service directory and its supervise.
func openSupervise(path string, flag int) (dir, supervise directory, err error) {
	if dir, err = openTrusted(unix.AT_FDCWD, path, flag); err != nil {
		return dir, supervise, err
	}
	supervise, err = openTrusted(dir.fd, "supervise", 0)
	switch {
	case err == unix.ENOENT:
		err = errors.New("no service directory: nothing has made supervise in it")
	case err != nil:
		err = fmt.Errorf("supervise: %w", err)
	}
	if err != nil {
		unix.Close(dir.fd)
	}
	return dir, supervise, err
}

// directory is one that nobody else could have written.
type directory struct{ fd, uid int }

// openTrusted follows links, if the flag is not O_NOFOLLOW: what they point to is judged.
func openTrusted(at int, path string, flag int) (directory, error) {
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flag, 0)
	if err != nil {
		return directory{}, err
	}
	var st unix.Stat_t
	uid, err := owner(fd, &st)
	if err != nil {
		unix.Close(fd)
	}
	return directory{fd, uid}, err
}

// open opens the process of a status, if its supervisor lives.
func (supervise directory) open(text []byte) (*proc.Process, error) {
	s, err := parseStatus(text)
	if err != nil {
		return nil, err
	}
	if err := supervise.alive(s.fifo); err != nil {
		return nil, err
	}
	switch s.phase {
	case down:
		return nil, &GoneError{Why: "the service is down"}
	case finishing:
		return nil, &GoneError{Why: "the service is in ./finish"}
	}
	return proc.Open(s.pid)
}

// readStatus reads supervise/status, which its supervisor always replaces as a whole.
func (supervise directory) readStatus() ([]byte, error) {
	fd, err := unix.Openat(supervise.fd, "status", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("supervise/status: %w", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if _, err := owner(fd, &st); err != nil {
		return nil, fmt.Errorf("supervise/status: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("supervise/status: no regular file")
	}
	buf := make([]byte, s6Length213+1)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

// alive tells whether a supervisor reads its FIFO: without one the status is stale.
func (supervise directory) alive(fifo string) error {
	fd, err := unix.Openat(supervise.fd, fifo, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENXIO:
		return errors.New("nothing supervises it now (runsv or s6-supervise is gone, its status is stale)")
	case err != nil:
		return fmt.Errorf("supervise/%s: %w", fifo, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("supervise/%s: no FIFO", fifo)
	}
	return nil
}
