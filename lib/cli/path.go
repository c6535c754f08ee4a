package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Find looks a program up as execvp(3) does: a name with a slash is a path, any
// other is looked for in PATH. Where PATH does not have it, or is not set, it is
// looked for beside the running program: our programs find each other from cron,
// and under the secure_path of sudo. The error carries the exit code.
func Find(prog string) (file string, err error) {
	if prog == "" {
		return "", &Error{NotFound, fmt.Errorf("cannot run %q: the name is empty", prog)}
	}
	if strings.Contains(prog, "/") {
		return prog, runnable(prog)
	}
	path, set := os.LookupEnv("PATH")
	if !set {
		path = "/bin:/usr/bin"
	}
	err = &Error{NotFound, fmt.Errorf("cannot run %q: not found in PATH", prog)}
	for _, dir := range strings.Split(path, ":") {
		file := dir + "/" + prog
		if dir == "" {
			file = "./" + prog // an empty entry is the current folder
		}
		here := runnable(file)
		if here == nil {
			return file, nil
		}
		if codeOf(here) == CannotRun { // execvp goes on, and remembers that there was one
			err = here
		}
	}
	if self, errSelf := os.Executable(); errSelf == nil { // links resolved, as Linux has it
		file := filepath.Join(filepath.Dir(self), prog)
		if runnable(file) == nil {
			return file, nil
		}
	}
	return "", err
}

// runnable tells why a file cannot be executed, as far as can be known without.
func runnable(file string) error {
	var st unix.Stat_t
	err := unix.Stat(file, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.EISDIR
	}
	if err == nil {
		err = unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
	}
	if err == nil {
		return nil
	}
	return cannotRun(file, err)
}

// cannotRun is the error of a program that could not be run, with its exit code.
func cannotRun(file string, err error) error {
	code := CannotRun
	if err == unix.ENOENT || err == unix.ENOTDIR {
		code = NotFound
	}
	return &Error{code, fmt.Errorf("cannot run %q: %w", file, err)}
}
