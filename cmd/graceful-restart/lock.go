package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// lock keeps two restarts of one process apart: the byte of the process's pid in
// a file of its service's supervise directory. So one file does for all workers
// of the service, the kernel knows the holder's pid, and it unlocks when the
// holder ends, however it does.
type lock struct {
	file *os.File
	pid  int
}

func openLock(dir string, p proc.ID) (*lock, error) {
	file, err := openLockFile(dir, "supervise/graceful-restart.lock")
	if err != nil {
		return nil, err
	}
	return &lock{file, p.PID}, nil
}

// TryLock is that of restart.Lock.
func (l *lock) TryLock() (locked bool, holder int, err error) {
	want := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: int64(l.pid), Len: 1}
	err = unix.FcntlFlock(l.file.Fd(), unix.F_SETLK, &want)
	if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		return err == nil, 0, err
	}
	has := want
	err = unix.FcntlFlock(l.file.Fd(), unix.F_GETLK, &has)
	return false, int(has.Pid), err
}
