package cli

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Expand replaces {} in the arguments of a program by the identity of what it
// is run for, as find and xargs do. Where there is none, nothing is added.
func Expand(argv []string, id string) []string {
	expanded := make([]string, len(argv))
	for i, arg := range argv {
		expanded[i] = strings.ReplaceAll(arg, "{}", id)
	}
	return expanded
}

// Find looks a program up in PATH as execvp(3) does. The code is the one to
// exit with if there is an error.
func Find(prog string) (file string, code int, err error) {
	file, err = exec.LookPath(prog)
	switch {
	case err == nil:
		return file, Continue, nil
	case errors.Is(err, exec.ErrDot): // PATH has the current folder in it; execvp takes that
		return "./" + strings.TrimPrefix(file, "./"), Continue, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", NoProg, err
	}
	return "", NoExec, err
}

// Exec becomes a program. It returns only if that cannot be: with the exit
// code, after having said why.
func (c *Command) Exec(argv []string) int {
	file, code, err := Find(argv[0])
	if err == nil {
		err = &fs.PathError{Op: "exec", Path: file, Err: syscall.Exec(file, argv, os.Environ())}
		code = NoExec
		if errors.Is(err, fs.ErrNotExist) {
			code = NoProg
		}
	}
	c.say("fatal", "cannot run "+strings.TrimPrefix(err.Error(), "exec: "))
	return code
}
