package proc

import (
	"errors"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A check of gracewatch comes by here each interval, so nothing in this file
// allocates once the buffer has its size.

// maxFile bounds what is read of a file of /proc, in bytes; the largest is
// status, whose list of groups may be long.
const maxFile = 1 << 20

var errTooLong = errors.New("file too long")

// names of files as the kernel reads them, with a NUL at the end
var (
	nameStat   = []byte("stat\x00")
	nameStatm  = []byte("statm\x00")
	nameStatus = []byte("status\x00")
	nameSmaps  = []byte("smaps_rollup\x00")
)

// openat is openat(2) for a name that ends in NUL; unix.Openat would copy it.
func openat(dir int, name []byte, flags int) (int, error) {
	for {
		fd, _, e := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&name[0])),
			uintptr(flags|unix.O_CLOEXEC), 0, 0, 0)
		switch e {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return -1, e
		}
	}
}

// buffer is what files are read into, over and over.
type buffer []byte

// read reads the whole of an open file from its start. What it returns is good
// until the next read. ErrGone if the process of a /proc file has ended.
//
// The kernel makes these files in one piece: a read that doesn't fill the
// buffer got all. A list, made entry by entry, needs another read to know.
func (b *buffer) read(fd int, list bool) ([]byte, error) {
	if *b == nil {
		*b = make([]byte, 512) // statm and stat fit
	}
	n := 0
	for {
		m, err := unix.Pread(fd, (*b)[n:], int64(n))
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ESRCH:
			return nil, ErrGone
		case err != nil:
			return nil, err
		}
		n += m
		switch {
		case m == 0, n < len(*b) && !list:
			return (*b)[:n], nil
		case n < len(*b):
			continue
		case n >= maxFile:
			return nil, errTooLong
		}
		*b = append(*b, make([]byte, n)...)
	}
}

// readAt opens a file, reads it and closes it.
func (b *buffer) readAt(dir int, name []byte) ([]byte, error) {
	fd, err := openat(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, gone(err)
	}
	defer unix.Close(fd)
	return b.read(fd, false)
}

// gone turns what the kernel says of files of a process that has ended into ErrGone.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return ErrGone
	}
	return err
}

// ReadFile reads /proc/PID/name of this very process. ErrGone if it has ended.
func (p *Process) ReadFile(name string) ([]byte, error) {
	fd, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone(err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if errors.Is(err, syscall.ESRCH) {
		err = ErrGone
	}
	return text, err
}
