package service

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// maxPidfile is the length of the longest identity, with room for white space.
const maxPidfile = 64

// openPidfile opens the process that a pidfile, or an identity file of pgexec,
// names. A plain pid whose process started after the file was written is stale.
func openPidfile(path string) (*proc.Process, error) {
	f, st, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, maxPidfile+1)
	n, err := unix.Read(int(f.Fd()), buf)
	if err != nil {
		return nil, err
	}
	uid := int(st.Uid)
	pid, id, err := parsePidfile(buf[:n])
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return openRecorded(id, uid)
	}
	p, err := proc.Open(pid)
	if err != nil {
		if errors.Is(err, proc.ErrGone) {
			err = fmt.Errorf("%w with pid %d", proc.ErrGone, pid)
		}
		return nil, err
	}
	if err = checkOwner(uid, p); err == nil {
		err = fresh(p.ID, time.Unix(st.Mtim.Unix()))
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// openRegular opens a regular file to read, and no link, which nobody else
// could have written.
func openRegular(path string) (f *os.File, st unix.Stat_t, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, st, err
	}
	_, err = owner(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("no regular file")
	}
	if err != nil {
		unix.Close(fd)
		return nil, st, err
	}
	return os.NewFile(uintptr(fd), path), st, nil
}

// openRecorded opens the process of an identity file.
func openRecorded(id proc.ID, uid int) (*proc.Process, error) {
	p, err := openID(id)
	if errors.Is(err, proc.ErrGone) && uid != 0 && os.Geteuid() == 0 {
		return nil, fmt.Errorf("it belongs to user %d, and %v is gone, so that nothing shows that it was this user's", uid, id)
	}
	if err != nil {
		return nil, err
	}
	if err := checkOwner(uid, p); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// parsePidfile reads a pid or an identity, with white space around it.
func parsePidfile(text []byte) (pid int, id proc.ID, err error) {
	if len(text) > maxPidfile {
		return 0, id, errors.New("too long for a pidfile")
	}
	word := strings.TrimSpace(string(text))
	if word == "" {
		return 0, id, errors.New("an empty pidfile")
	}
	if strings.Contains(word, ":") {
		id, err = proc.ParseID(word)
	} else {
		pid, err = proc.ParsePID(word)
	}
	if err != nil {
		err = fmt.Errorf("no pidfile: %w", err)
	}
	return pid, id, err
}

// fresh refuses a pid that was given to another process after the file was
// written. Both times are coarse (a clock tick each), so that much is allowed.
func fresh(id proc.ID, written time.Time) error {
	started := time.Now().Add(id.StartTime() - proc.Now())
	const coarse = 20 * time.Millisecond
	if started.After(written.Add(coarse)) {
		return &GoneError{Why: fmt.Sprintf("stale: process %d started %v after the file was written",
			id.PID, started.Sub(written).Round(10*time.Millisecond))}
	}
	return nil
}
