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
// and under the secure_path of sudo. The code is the one to exit with if there
// is an error.
func Find(prog string) (file string, code int, err error) {
	if prog == "" {
		return "", NotFound, fmt.Errorf("cannot run %q: the name is empty", prog)
	}
	if strings.Contains(prog, "/") {
		code, err = runnable(prog)
		return prog, code, err
	}
	path, set := os.LookupEnv("PATH")
	if !set {
		path = "/bin:/usr/bin"
	}
	code, err = NotFound, fmt.Errorf("cannot run %q: not found in PATH", prog)
	for _, dir := range strings.Split(path, ":") {
		file := dir + "/" + prog
		if dir == "" {
			file = "./" + prog // an empty entry is the current folder
		}
		codeHere, errHere := runnable(file)
		if errHere == nil {
			return file, Continue, nil
		}
		if codeHere == CannotRun { // execvp goes on, and remembers that there was one
			code, err = codeHere, errHere
		}
	}
	if self, errSelf := os.Executable(); errSelf == nil { // links resolved, as Linux has it
		file := filepath.Join(filepath.Dir(self), prog)
		if _, errHere := runnable(file); errHere == nil {
			return file, Continue, nil
		}
	}
	return "", code, err
}

// runnable tells whether a file can be executed, as far as can be known without.
func runnable(file string) (code int, err error) {
	var st unix.Stat_t
	err = unix.Stat(file, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.EISDIR
	}
	if err == nil {
		err = unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
	}
	return cannotRun(file, err)
}

// cannotRun is the exit code for why a program could not be run, and says it.
func cannotRun(file string, err error) (code int, said error) {
	switch err {
	case nil:
		return Continue, nil
	case unix.ENOENT, unix.ENOTDIR:
		code = NotFound
	default:
		code = CannotRun
	}
	return code, fmt.Errorf("cannot run %q: %w", file, err)
}
