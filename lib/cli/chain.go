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

// Exec becomes a program. It returns only if that cannot be: with the exit
// code, after having said why.
func (c *Command) Exec(argv []string) int {
	file, code, err := Find(argv[0])
	if err == nil {
		code, err = cannotRun(file, syscall.Exec(file, argv, os.Environ()))
	}
	c.say("fatal", err.Error())
	return code
}
