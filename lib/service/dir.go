package service

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2" // crypto/rand would put 150 KB into each program, most of it never run
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Dir is a directory that was checked (see checkTrust) and is open: all that is
// read and written in it goes there, even if its path leads elsewhere by now.
// No file in it is opened through a link, but by ReadLinked.
type Dir struct {
	path  string // as it was given, for messages
	fd    int    // O_PATH
	users []user // whose files in it may be opened
}

// ErrLocked is the error of a lock that another process has.
var ErrLocked = errors.New("locked by another process")

// OpenDir opens a directory of root or of the caller. Links on the path are
// followed only where nobody else can have made them. A world-writable directory
// with the sticky bit, such as /tmp, is one that can be used: the files in it are
// checked, and nobody else can replace them.
func OpenDir(path string) (*Dir, error) { return openTrustedDir(path, root(), caller()) }

func openTrustedDir(path string, users ...user) (*Dir, error) {
	d, st, err := openDirAt(unix.AT_FDCWD, path, path)
	if err != nil {
		return nil, err
	}
	d.users = users
	if isSticky(&st) {
		st.Mode &^= unix.S_IWOTH | unix.S_IWGRP
	}
	if err := checkTrust(&st, users...); err != nil {
		d.Close()
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	return d, nil
}

// OpenParent opens the directory that a file is in, or is to be in, as OpenDir
// does. The name is that of the file in it.
func OpenParent(path string) (d *Dir, name string, err error) {
	return openParent(path, root(), caller())
}

// OpenParentOf is OpenParent to read a file that a process keeps: that of its user,
// too, so that nothing may be done that this user could not do.
func OpenParentOf(p *proc.Process, path string) (d *Dir, name string, err error) {
	s, err := p.Status()
	if err != nil {
		return nil, "", err
	}
	return openParent(path, root(), caller(), user{s.EUID, s.EGID})
}

func openParent(path string, users ...user) (d *Dir, name string, err error) {
	dir, name := filepath.Split(path)
	if err := checkName(name); err != nil {
		return nil, "", fmt.Errorf("invalid file name %q (want a path such as /run/app/state)", path)
	}
	if dir == "" {
		dir = "."
	}
	if d, err = openTrustedDir(filepath.Clean(dir), users...); err != nil {
		return nil, "", err
	}
	return d, name, nil
}

// openDirAt opens a directory, and no link of somebody else on the way to it.
func openDirAt(at int, path, shown string) (*Dir, unix.Stat_t, error) {
	p, err := walk(at, path)
	if err != nil {
		return nil, unix.Stat_t{}, fmt.Errorf("cannot open %s: %w", shown, err)
	}
	defer p.close()
	if err := p.checkLinks(); err != nil {
		return nil, unix.Stat_t{}, fmt.Errorf("cannot open %s: %w", shown, err)
	}
	fd, st, err := p.open(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return nil, unix.Stat_t{}, fmt.Errorf("cannot open %s: %w", shown, err)
	}
	return &Dir{shown, fd, []user{root(), caller()}}, st, nil
}

// Close closes the directory.
func (d *Dir) Close() { unix.Close(d.fd) }

// String is the path by which the directory was opened.
func (d *Dir) String() string { return d.path }

// ID is equal for two directories only if they are the same one.
func (d *Dir) ID() (device, inode uint64) {
	var st unix.Stat_t
	if unix.Fstat(d.fd, &st) != nil {
		return 0, 0
	}
	return uint64(st.Dev), st.Ino
}

// file is the path of a file in the directory, for messages.
func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// checkName refuses what is not the name of an entry.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("invalid file name %q", name)
	}
	return nil
}

// OpenFile opens a regular file that is root's or the caller's, and no link. The
// flags are those of open(2). It is checked before it is truncated; one with
// another name is not opened to write, because that name can be anywhere.
func (d *Dir) OpenFile(name string, flags int, mode os.FileMode) (*os.File, error) {
	f, err := d.openFile(name, flags, mode)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", d.file(name), err)
	}
	return f, nil
}

func (d *Dir) openFile(name string, flags int, mode os.FileMode) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	fd, st, err := openAt(d.fd, name, flags&^unix.O_TRUNC, mode)
	if err != nil {
		return nil, err
	}
	f, err := d.use(fd, &st, name)
	switch {
	case err != nil:
		return nil, err
	case flags&unix.O_ACCMODE == unix.O_RDONLY:
	case st.Nlink > 1:
		err = fmt.Errorf("it has %d hard links", st.Nlink)
	case flags&unix.O_TRUNC != 0:
		err = unix.Ftruncate(fd, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// use refuses a file that is open, and closes it, if it may not be used.
func (d *Dir) use(fd int, st *unix.Stat_t, name string) (*os.File, error) {
	err := checkTrust(st, d.users...)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), d.file(name)), nil
}

var errNotRegular = errors.New("not a regular file")

// openLinked opens a file to read it, also where it is a link that root or the
// caller made in a directory of theirs.
func (d *Dir) openLinked(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p, err := walk(d.fd, name)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.checkLinks(); err != nil {
		return nil, err
	}
	fd, st, err := p.open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return d.use(fd, &st, name)
}

// ReadFile reads a file that is root's or the caller's, no longer than max bytes.
func (d *Dir) ReadFile(name string, max int) ([]byte, error) {
	f, err := d.openFile(name, unix.O_RDONLY, 0)
	return d.readAll(f, err, name, max)
}

// ReadLinked reads a file as ReadFile does, or what a link in its place leads to:
// settings may be links, as they may for chpst and s6-envdir, if root or the caller
// made them in a directory of theirs.
func (d *Dir) ReadLinked(name string, max int) ([]byte, error) {
	f, err := d.openLinked(name)
	return d.readAll(f, err, name, max)
}

func (d *Dir) readAll(f *os.File, err error, name string, max int) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", d.file(name), err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(max)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", d.file(name), cause(err))
	case len(text) > max:
		return nil, fmt.Errorf("cannot read %s: longer than %d bytes", d.file(name), max)
	}
	return text, nil
}

// WriteFile writes a file as a whole or not at all: a reader finds the old one or
// the new one. What is no regular file, such as /dev/null, is not replaced; a link
// is, and what it leads to is not touched.
func (d *Dir) WriteFile(name string, text []byte, mode os.FileMode) error {
	if err := d.writeFile(name, text, mode); err != nil {
		return fmt.Errorf("cannot write %s: %w", d.file(name), err)
	}
	return nil
}

func (d *Dir) writeFile(name string, text []byte, mode os.FileMode) error {
	if err := checkName(name); err != nil {
		return err
	}
	var st unix.Stat_t
	if unix.Fstatat(d.fd, name, &st, 0) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errNotRegular
	}
	tmp := fmt.Sprintf(".gracekit-%016x", rand.Uint64())
	fd, err := unix.Openat(d.fd, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = unix.Renameat(d.fd, tmp, d.fd, name)
	}
	if err != nil {
		unix.Unlinkat(d.fd, tmp, 0)
	}
	return cause(err)
}

// cause is an error without the name of the temporary file.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Remove removes a file, also one of another user, or a link. That it is missing is
// not an error.
func (d *Dir) Remove(name string) error {
	err := checkName(name)
	if err == nil {
		err = unix.Unlinkat(d.fd, name, 0)
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("cannot remove %s: %w", d.file(name), err)
	}
	return nil
}

// OpenLock makes a lock file, unless it is there, and locks it until it is closed.
// The error is ErrLocked if another process has the lock.
func (d *Dir) OpenLock(name string) (*os.File, error) {
	f, err := d.openFile(name, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return f, nil
		}
		f.Close()
	}
	if err == unix.EWOULDBLOCK {
		err = ErrLocked
	}
	return nil, fmt.Errorf("cannot lock %s: %w", d.file(name), err)
}

// OpenFIFO makes a FIFO, or uses the one that is there if it is the caller's, and
// opens it to read: 0600, or 0620 for a group that may write (gid -1: none). It is
// opened to write, too, so that there is always a writer and reading never comes
// to an end. An error if another process reads it.
func (d *Dir) OpenFIFO(name string, gid int) (fd int, err error) {
	if err = checkName(name); err == nil {
		fd, err = openFIFO(d.fd, name, gid)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open %s: %w", d.file(name), err)
	}
	return fd, nil
}
