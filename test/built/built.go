// Package built prepares a test binary whose tests run the programs as their
// users do: they are built, found by PATH, and waited for side by side.
package built

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Programs builds packages of this repository, two folders up, into a folder.
// Where there is no Go, GRACEKIT_BIN has a folder in which they are already.
func Programs(bin string, packages ...string) error {
	if ready := os.Getenv("GRACEKIT_BIN"); ready != "" {
		return os.CopyFS(bin, os.DirFS(ready))
	}
	build := exec.Command("go", append([]string{"build", "-o", bin}, packages...)...)
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w\n%s", packages, err, out)
	}
	return nil
}

// Scripts copies the programs that are shell scripts, cmd/NAME/NAME, into a
// folder: the source may be where other users cannot read, as in /root.
func Scripts(bin string) error {
	folders, err := filepath.Glob("../../cmd/*")
	for _, folder := range folders {
		name := filepath.Base(folder)
		text, errRead := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(errRead, fs.ErrNotExist) {
			continue
		}
		err = errors.Join(err, errRead, os.WriteFile(filepath.Join(bin, name), text, 0o755))
	}
	return err
}

// Parallel has so many tests run at once, unless -parallel is given: whatever
// the number of cores, for they wait more than they compute.
func Parallel(tests string) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", tests)
	}
}
