package proc

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a file of /proc, in bytes; the largest is
// status, whose list of groups may be long.
const maxFile = 1 << 20

var errTooLong = errors.New("file too long")

// ReadFile reads /proc/PID/name of this very process. ErrGone if it has ended.
func (p *Process) ReadFile(name string) ([]byte, error) { return p.AppendFile(nil, name) }

// AppendFile is ReadFile into a buffer, which grows if it must, for those that
// read again and again.
func (p *Process) AppendFile(text []byte, name string) ([]byte, error) {
	fd, err := p.open(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readAll(fd, text)
}

// readAll reads an open file to its end, or to maxFile.
func readAll(fd int, text []byte) ([]byte, error) {
	for len(text) < maxFile {
		text = slices.Grow(text, 512)
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, gone(err)
		case n == 0:
			return text, nil
		default:
			text = text[:len(text)+n]
		}
	}
	return text[:maxFile], nil
}

// readOnce reads a file of the process's directory that the kernel makes in one
// piece (see pread), into room if that suffices.
func (p *Process) readOnce(name string, room []byte) ([]byte, error) {
	fd, err := p.open(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return pread(fd, room)
}

// open opens a file of the process's directory to read. ErrGone if the process
// has ended. Under hidepid=2 the kernel says ENOENT of every file of a process of
// another user, as it does when the process has been reaped: only the pidfd tells
// the two apart.
func (p *Process) open(name string) (int, error) {
	fd, err := openat(p.dir.fd(), name, 0)
	if errors.Is(err, ErrGone) && p.pidfd.fd() >= 0 && !strings.Contains(name, "/") && p.hidden() {
		err = ErrHidden
	}
	return fd, err
}

// hidden tells whether /proc shows nothing of a process that has not ended.
func (p *Process) hidden() bool {
	var st unix.Stat_t
	err := unix.Fstatat(p.dir.fd(), "stat", &st, 0)
	return err == unix.ENOENT && !p.Ended()
}

// pread reads an open file of /proc from its start. The kernel makes stat, statm,
// status and smaps_rollup in one piece: a read that does not fill the room got
// all, and another one at its end would have the kernel make all of it again.
func pread(fd int, room []byte) ([]byte, error) {
	for {
		n, err := unix.Pread(fd, room, 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, gone(err)
		case n < len(room):
			return room[:n], nil
		case n >= maxFile:
			return nil, errTooLong
		default:
			room = make([]byte, 4*len(room))
		}
	}
}

// openat is openat(2) for reading. ErrGone if the process of the directory has
// ended.
func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, gone(err)
		}
	}
}

// gone turns what the kernel says of files of a process that has ended into ErrGone.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return ErrGone
	}
	return err
}
