package cli

import (
	"os"
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

// Exec becomes a program, which Find finds. It returns only if that is not
// possible; the error carries the exit code.
func (c *Command) Exec(argv []string) error {
	file, code, err := Find(argv[0])
	if err != nil {
		return &Error{code, err}
	}
	return ExecFile(file, argv)
}

// ExecFile is Exec for a program that Find has found.
func ExecFile(file string, argv []string) error {
	messages.flush()
	code, err := cannotRun(file, syscall.Exec(file, argv, os.Environ()))
	return &Error{code, err}
}
