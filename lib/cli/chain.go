package cli

import (
	"errors"
	"fmt"
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
	if errors.Is(err, exec.ErrDot) { // PATH has the current folder in it; execvp takes that
		return "./" + strings.TrimPrefix(file, "./"), Continue, nil
	}
	code, err = cannotRun(prog, err)
	return file, code, err
}

// cannotRun is the exit code for why a program could not be run, and says it.
func cannotRun(prog string, err error) (int, error) {
	switch {
	case err == nil:
		return Continue, nil
	case errors.Is(err, exec.ErrNotFound):
		return NoProg, fmt.Errorf("cannot run %q: not found in PATH", prog)
	}
	for unwrapped := errors.Unwrap(err); unwrapped != nil; unwrapped = errors.Unwrap(err) {
		err = unwrapped // the reason, without the names around it
	}
	code := NoExec
	if errors.Is(err, fs.ErrNotExist) {
		code = NoProg
	}
	return code, fmt.Errorf("cannot run %q: %w", prog, err)
}

// Exec becomes a program. It returns only if that cannot be: with the exit
// code, after having said why.
func (c *Command) Exec(argv []string) int {
	file, code, err := Find(argv[0])
	if err == nil {
		code, err = cannotRun(argv[0], syscall.Exec(file, argv, os.Environ()))
	}
	c.say("fatal", err.Error())
	return code
}
