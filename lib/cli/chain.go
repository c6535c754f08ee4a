package cli

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
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
	file, err := Find(argv[0])
	if err != nil {
		return err
	}
	return ExecFile(file, argv)
}

// ExecFile is Exec for a program that Find has found.
func ExecFile(file string, argv []string) error {
	messages.flush()
	return cannotRun(file, syscall.Exec(file, argv, os.Environ()))
}

// CloseOnExec has exec close everything above stderr: a program that is left
// behind then keeps no lock, pipe or notification-fd of those who started it.
func CloseOnExec() error {
	dir, err := os.Open("/proc/self/fd") // close_range(2) with CLOEXEC needs Linux 5.11
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, _ := strconv.Atoi(name); fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return err
}
