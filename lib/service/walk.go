package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links are followed on one path, as in the kernel.
const maxLinks = 40

// place is what a path leads to: an entry of a directory that is open.
type place struct {
	dir     int    // O_PATH
	name    string // in dir; not a link when it was checked
	st      unix.Stat_t
	linked  bool   // the path itself was a link
	foreign []link // links on the way that somebody else can have made
}

// link is a symbolic link that was followed.
type link struct {
	path string
	uid  int   // its owner
	why  error // why it is not trusted to lead where root or the caller want
}

func (p *place) close() { unix.Close(p.dir) }

// checkLinks refuses a way through links of somebody else: they could lead
// anywhere.
func (p *place) checkLinks() error {
	if len(p.foreign) > 0 {
		return fmt.Errorf("cannot follow the symbolic link %s: %w", p.foreign[0].path, p.foreign[0].why)
	}
	return nil
}

// open opens what is there. That it has become a link meanwhile is an error.
func (p *place) open(flags int) (fd int, st unix.Stat_t, err error) {
	return openAt(p.dir, p.name, flags, 0)
}

var errLink = errors.New("it is a symbolic link")

// openAt opens an entry of a directory, but no link, and never waits for it.
func openAt(dir int, name string, flags int, mode os.FileMode) (fd int, st unix.Stat_t, err error) {
	fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, uint32(mode.Perm()))
	if err == unix.ELOOP {
		err = errLink
	}
	if err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// walk follows a path from a directory (unix.AT_FDCWD: the current one), a step at
// a time, so that the owner of each link can be checked. The kernel would follow them all.
func walk(at int, path string) (*place, error) {
	p := &place{dir: -1}
	if path == "" {
		return nil, unix.ENOENT
	}
	if err := p.enter(at, start(path)); err != nil {
		return nil, err
	}
	walked := start(path) // for messages
	for steps, links := split(path), 0; ; {
		p.name, steps = steps[0], steps[1:]
		err := unix.Fstatat(p.dir, p.name, &p.st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err != nil:
		case p.st.Mode&unix.S_IFMT == unix.S_IFLNK:
			if links++; links > maxLinks {
				err = unix.ELOOP
				break
			}
			var target string
			if target, err = p.follow(filepath.Join(walked, p.name)); err != nil {
				break
			}
			p.linked = p.linked || len(steps) == 0
			steps = append(split(target), steps...)
			if strings.HasPrefix(target, "/") {
				walked, err = "/", p.enter(unix.AT_FDCWD, "/")
			}
		case len(steps) == 0:
			return p, nil
		default:
			walked, err = filepath.Join(walked, p.name), p.enter(p.dir, p.name)
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
}

// start is where a path starts.
func start(path string) string {
	if strings.HasPrefix(path, "/") {
		return "/"
	}
	return "."
}

// split is the names of a path; "." if there are none.
func split(path string) []string {
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(names) == 0 {
		return []string{"."}
	}
	return names
}

// enter goes on to another directory.
func (p *place) enter(at int, name string) error {
	dir, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if p.dir >= 0 {
		unix.Close(p.dir)
	}
	p.dir = dir
	return nil
}

// follow reads a link, and notes it if somebody else can have made it: if it is
// owned by another user, or is in another user's directory. In a directory of
// somebody else root's own links can be renamed.
func (p *place) follow(path string) (target string, err error) {
	var dir unix.Stat_t
	if err := unix.Fstat(p.dir, &dir); err != nil {
		return "", err
	}
	if isSticky(&dir) {
		dir.Mode &^= unix.S_IWOTH | unix.S_IWGRP
	}
	uid := int(p.st.Uid)
	if err := checkTrust(&dir, root(), caller()); err != nil {
		p.foreign = append(p.foreign, link{path, uid, fmt.Errorf("its directory is %w", err)})
	} else if uid != 0 && uid != os.Geteuid() {
		p.foreign = append(p.foreign, link{path, uid, fmt.Errorf("it is owned by uid %d", uid)})
	}
	room := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(p.dir, p.name, room)
	if err != nil {
		return "", err
	}
	return string(room[:n]), nil
}
