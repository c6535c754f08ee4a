package watch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gracekit/lib/service"
)

// pathFiles are a state file and its lock, by path.
type pathFiles struct {
	path string
	lock *os.File
}

func (f *pathFiles) Name() string { return f.path }

// Lock takes the lock beside the file, which it may have already; but for that
// one the directory may have been deleted and made anew.
func (f *pathFiles) Lock() error {
	name := f.path + ".lock"
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	lock := os.NewFile(uintptr(fd), name)
	if f.holds(lock) {
		return lock.Close()
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return ErrLocked
	}
	if f.lock != nil {
		f.lock.Close()
	}
	f.lock = lock
	return nil
}

func (f *pathFiles) holds(lock *os.File) bool {
	if f.lock == nil {
		return false
	}
	have, err := f.lock.Stat()
	is, errIs := lock.Stat()
	return err == nil && errIs == nil && os.SameFile(have, is)
}

func (f *pathFiles) Read() ([]byte, error) {
	d, name, err := service.OpenParent(f.path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadFile(name, mostState)
}

func (f *pathFiles) Write(text []byte) error {
	if err := f.Lock(); err != nil {
		return err
	}
	d, name, err := service.OpenParent(f.path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.WriteFile(name, text, 0o600)
}

// openControl makes a FIFO and reads commands from it.
func (h *host) openControl(path string, gid int, hook bool) error {
	d, name, err := service.OpenParent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	fd, err := d.OpenFIFO(name, gid)
	if err != nil {
		return err
	}
	h.controls = append(h.controls, controlFIFO{fd, hook})
	return nil
}
