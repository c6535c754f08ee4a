package service

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var errFIFORead = errors.New("another process reads it")

func openFIFO(dir int, name string, gid int) (fd int, err error) {
	mode := uint32(0o600)
	if gid >= 0 {
		mode = 0o620
	}
	if err := unix.Mkfifoat(dir, name, 0o600); err != nil && err != unix.EEXIST {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	if err := checkFIFO(&st); err != nil { // before it is opened: opening some devices does something
		return -1, err
	}
	const flags = unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if fd, err := unix.Openat(dir, name, unix.O_WRONLY|flags, 0); err == nil { // otherwise ENXIO: no process reads it
		unix.Close(fd)
		return -1, errFIFORead
	}
	// A FIFO that is open to read and write never blocks and never ends (fifo(7)).
	if fd, err = unix.Openat(dir, name, unix.O_RDWR|flags, 0); err != nil {
		return -1, err
	}
	if err = unix.Fstat(fd, &st); err == nil {
		err = checkFIFO(&st)
	}
	if err == nil && unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil { // of two that open it at once
		err = errFIFORead
	}
	if err == nil {
		err = unix.Fchown(fd, -1, gid)
	}
	if err == nil {
		err = unix.Fchmod(fd, mode)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// checkFIFO refuses a FIFO that is not the caller's, whatever its mode, which is
// set afterwards.
func checkFIFO(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFIFO:
		return errors.New("not a FIFO")
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("owned by uid %d", st.Uid)
	case st.Nlink > 1:
		return fmt.Errorf("it has %d hard links", st.Nlink)
	}
	return nil
}
