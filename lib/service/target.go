// Package service turns a TARGET into the process that is meant: a pid, an
// identity, a pidfile, or a service directory of runit or s6. It refuses what
// somebody else could have written, and never takes a stale answer.
package service

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Target is who is meant, as it was said.
type Target struct {
	Text string
	pid  int     // the process with this pid
	id   proc.ID // this very process
	path string  // or a service directory or a pidfile
}

// Parse reads a TARGET. An error is a word that cannot be one; whether there
// is such a process or file is for Open to say.
func Parse(text string) (t Target, err error) {
	t = Target{Text: text}
	switch {
	case text == "":
		err = errors.New(`"" is no target (a pid, PID:STARTTIME, a service directory or a pidfile)`)
	case strings.Trim(text, "0123456789") == "":
		t.pid, err = proc.ParsePID(text)
	case strings.Trim(text, "0123456789:") == "":
		t.id, err = proc.ParseID(text)
	case strings.Trim(text, "0123456789-+") == "":
		err = fmt.Errorf("%q is no pid (1 to %d)", text, proc.PIDMax)
	default:
		t.path = text
	}
	return t, err
}

// GoneError says that a target has no process now, and why. It is proc.ErrGone.
type GoneError struct {
	ID  proc.ID // who it was, where that is known: its process group may live
	Why string
}

func (e *GoneError) Error() string { return e.Why }

// Is makes it proc.ErrGone.
func (e *GoneError) Is(err error) bool { return err == proc.ErrGone }

// IsDirectory tells whether the target is a directory, and so a service that is
// followed from one process to the next.
func (t Target) IsDirectory() bool {
	info, err := os.Stat(t.path)
	return t.path != "" && err == nil && info.IsDir()
}

// Open finds the target's process and opens it. The error is proc.ErrGone (a
// *GoneError) if there is none now, anything else is a refusal; both name the
// target.
func (t Target) Open() (p *proc.Process, err error) {
	switch {
	case t.pid != 0:
		p, err = proc.Open(t.pid)
	case t.id != proc.ID{}:
		p, err = openID(t.id)
	default:
		p, err = openPath(t.path)
	}
	var gone *GoneError
	switch {
	case err == nil:
		return p, nil
	case errors.As(err, &gone):
		return nil, &GoneError{gone.ID, t.Text + ": " + gone.Why}
	case errors.Is(err, proc.ErrGone):
		return nil, &GoneError{Why: t.Text + ": " + err.Error()}
	}
	return nil, fmt.Errorf("%s: %w", t.Text, err)
}

// openID is proc.OpenID whose error knows the identity.
func openID(id proc.ID) (*proc.Process, error) {
	p, err := proc.OpenID(id)
	if errors.Is(err, proc.ErrGone) {
		err = &GoneError{id, err.Error()}
	}
	return p, err
}

// openPath tells a service directory from a pidfile. A link is followed to a
// directory alone.
func openPath(path string) (*proc.Process, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if err == unix.ENOENT {
		return nil, errors.New("no such file or directory, nor a pid or PID:STARTTIME")
	}
	if err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return openPidfile(path)
	case unix.S_IFDIR:
		return openDirectory(path, unix.O_NOFOLLOW) // it may be a link by now
	case unix.S_IFLNK:
		return openLink(path, int(st.Uid))
	}
	return nil, errors.New("neither a directory nor a regular file")
}

// openLink follows the link of that user to a service directory. Whoever made it chose the process, too.
func openLink(path string, uid int) (*proc.Process, error) {
	p, err := openDirectory(path, 0)
	if err == unix.ENOTDIR {
		return nil, errors.New("a symbolic link to what is no directory (a pidfile must not be a link)")
	}
	if err != nil {
		return nil, err
	}
	if err := checkOwner(uid, p); err != nil {
		p.Close()
		return nil, fmt.Errorf("the link: %w", err)
	}
	return p, nil
}

// ParseAll is Parse for several; nothing is looked at before all are right.
func ParseAll(words []string) ([]Target, error) {
	targets := make([]Target, len(words))
	for i, word := range words {
		t, err := Parse(word)
		if err != nil {
			return nil, err
		}
		targets[i] = t
	}
	return targets, nil
}
