package service

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenFIFO makes a FIFO, or takes the one that is there if it is this user's,
// and opens it to read: 0600, or 0620 for a group that may write (gid -1: none).
// The descriptor holds it open to write, too, so that it outlives every writer.
// An error if somebody reads it already.
func OpenFIFO(path string, gid int) (fd int, err error) {
	mode := uint32(0o600)
	if gid >= 0 {
		mode = 0o620
	}
	if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	const flags = unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if fd, err := unix.Open(path, unix.O_WRONLY|flags, 0); err == nil { // else ENXIO: nobody reads it
		unix.Close(fd)
		return -1, fmt.Errorf("%s: another process reads it, or it is something else than a FIFO", path)
	}
	// A FIFO that is open to read and write never blocks and never ends (fifo(7)).
	if fd, err = unix.Open(path, unix.O_RDWR|flags, 0); err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	var st unix.Stat_t
	switch err = unix.Fstat(fd, &st); {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFIFO:
		err = errors.New("there is something else than a FIFO")
	case int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("it belongs to user %d", st.Uid)
	case unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil: // of two that come at once
		err = errors.New("another process reads it")
	default:
		if err = unix.Fchown(fd, -1, gid); err == nil {
			err = unix.Fchmod(fd, mode)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}
