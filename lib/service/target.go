// Package service resolves a TARGET to a process: a pid, an identity, a pidfile,
// or a service directory of runit or s6. It reads and writes the files beside such
// a service. What somebody else could have written is refused, and so is what is
// stale.
package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// Target is what a program was asked to act on.
type Target struct {
	Text string  // as it was given
	pid  int     // the process with this pid
	id   proc.ID // this very process
	path string  // or a service directory or a pidfile
}

// Parse reads a TARGET. An error is a word that cannot be one; whether there is
// such a process or file is for Open to find out.
func Parse(text string) (t Target, err error) {
	t = Target{Text: text}
	switch {
	case text == "":
		err = errors.New(`invalid target "" (want a pid, PID:STARTTIME, a service or a pidfile)`)
	case strings.Trim(text, "0123456789") == "":
		t.pid, err = proc.ParsePID(text)
	case strings.Trim(text, "0123456789:") == "":
		t.id, err = proc.ParseID(text)
	case strings.Trim(text, "0123456789-+") == "":
		err = fmt.Errorf("invalid pid %q (want 1 to %d)", text, proc.PIDMax)
	default:
		t.path = findService(text)
	}
	return t, err
}

// serviceDirs are where services are looked up by name, as sv does in the first.
var serviceDirs = []string{"/etc/service", "/run/service", "/service"}

// findService is the service directory of that name, in $SVDIR alone if that is
// set. A word with a slash or a leading dot is a path, and so is a name that is
// that of no service.
func findService(word string) string {
	if strings.Contains(word, "/") || strings.HasPrefix(word, ".") {
		return word
	}
	dirs := serviceDirs
	if dir := os.Getenv("SVDIR"); dir != "" {
		dirs = []string{dir}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, word)
		info, err := os.Stat(path)
		if err == nil && info.IsDir() || errors.Is(err, fs.ErrPermission) { // to open it will say why not
			return path
		}
	}
	return word
}

// Path is the path of the service directory or the pidfile that was given, or that
// a service name was found at; "" if the target is a process.
func (t Target) Path() string { return t.path }

// Service is the path of the service directory that the target is; "" if it is
// something else.
func (t Target) Service() string {
	if t.IsDirectory() {
		return t.path
	}
	return ""
}

// GoneError says that a target has no process now, and why. It is proc.ErrGone.
type GoneError struct {
	ID    proc.ID // the process that has exited, where that is known: its group may live
	Why   string
	Stale bool // a pidfile that is older than the process with its pid, or empty or torn: a process may be alive
}

func (e *GoneError) Error() string { return e.Why }

// Is makes it proc.ErrGone.
func (e *GoneError) Is(err error) bool { return err == proc.ErrGone }

// IsDirectory tells whether the target is a directory, and so a service: it has
// one process after another.
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
	if err != nil {
		return nil, t.openError(err)
	}
	return p, nil
}

// openError names the target.
func (t Target) openError(err error) error {
	var gone *GoneError
	switch {
	case errors.As(err, &gone):
		return &GoneError{gone.ID, t.Text + ": " + gone.Why, gone.Stale}
	case errors.Is(err, proc.ErrGone):
		return &GoneError{Why: t.Text + ": " + err.Error()}
	}
	return fmt.Errorf("cannot use %s: %w", t.Text, err)
}

// openID is proc.OpenID whose error has the identity.
func openID(id proc.ID) (*proc.Process, error) {
	p, err := proc.OpenID(id)
	if errors.Is(err, proc.ErrGone) {
		err = &GoneError{ID: id, Why: err.Error()}
	}
	return p, err
}

// openPath opens the process of a service directory or of a pidfile.
func openPath(path string) (*proc.Process, error) {
	at, err := walk(unix.AT_FDCWD, path)
	if err == unix.ENOENT {
		return nil, fmt.Errorf("%w, nor a service, a pid or PID:STARTTIME", err)
	}
	if err != nil {
		return nil, err
	}
	defer at.close()
	switch at.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return openPidfile(at)
	case unix.S_IFDIR:
		d, err := openDirectory(at, path)
		if err != nil {
			return nil, err
		}
		defer d.close()
		p, _, err, _ := d.open()
		return p, err
	}
	return nil, errors.New("neither a directory nor a regular file")
}

// ParseAll is Parse for several.
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
