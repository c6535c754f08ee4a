// Package harness is what tests with real processes have in common: the programs, built once and found by PATH; a world
// for each test, of which nothing may be left when it ends; real supervisors and a real Redis; the log of gracewatch; and
// the commands of test scripts. It reads /proc itself, without the packages that are tested.
package harness

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// RunVariable is in the environment of everything that this run starts: the folder of the run.
const RunVariable = "GRACEKIT_TEST_RUN"

// Main is a TestMain. It builds packages of this repository and copies our scripts into a folder, which is the first in
// PATH, and runs the tests, twelve at once unless -parallel is given: they wait more than they compute.
func Main(m *testing.M, packages ...string) {
	sweepIfAsked()
	os.Exit(runTests(m, packages))
}

func runTests(m *testing.M, packages []string) int {
	dir, stop, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o755), programs(bin, packages), scripts(bin)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	flag.Set("test.parallel", "12") // the command line is read after this
	return m.Run()
}

// programs builds packages. Where there is no Go, GRACEKIT_BIN has a folder in which they are already.
func programs(bin string, packages []string) error {
	if ready := os.Getenv("GRACEKIT_BIN"); ready != "" {
		return os.CopyFS(bin, os.DirFS(ready))
	}
	return build(bin, packages)
}

func build(bin string, packages []string) error {
	c := exec.Command("go", append([]string{"build", "-o", bin}, packages...)...)
	c.Dir = repo
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w\n%s", packages, err, out)
	}
	return nil
}

// scripts copies the programs that are shell scripts, cmd/NAME/NAME: the source may be where other users cannot read, as
// in /root.
func scripts(bin string) error {
	folders, err := filepath.Glob(repo + "/cmd/*")
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

// repo is the root of the source tree, seen from the folder of a package of tests.
const repo = "../.."

// Repo is the absolute path of the source tree.
func Repo() string {
	dir, err := filepath.Abs(repo)
	if err != nil {
		panic(err) // there is no working directory
	}
	return dir
}

// sweeper is in the environment of a test binary that is to be the sweeper of another one.
const sweeper = "GRACEKIT_TEST_SWEEPER"

// begin makes the folder of this run, and starts a process that outlives this one, should it be killed or panic (go test
// -timeout), and then ends what its tests had started. It sees the end of the test binary as the end of its input.
func begin() (dir string, stop func(), err error) {
	if dir, err = os.MkdirTemp("", "gk"); err != nil { // short: unix sockets are in it
		return "", nil, err
	}
	os.Setenv(RunVariable, dir)
	own, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	c := exec.Command(own)
	c.Env = append(os.Environ(), sweeper+"=1")
	c.SysProcAttr = OwnSession
	in, err := c.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), c.Start()); err != nil { // 0755: for tests as another user
		return "", nil, err
	}
	return dir, func() { in.Close(); c.Wait() }, nil
}

// sweepIfAsked is the whole life of the sweeper, and nothing in any other process.
func sweepIfAsked() {
	if os.Getenv(sweeper) == "" {
		return
	}
	io.Copy(io.Discard, os.Stdin)
	dir := os.Getenv(RunVariable)
	KillAll(func() []Process { return ProcessesOf(RunVariable+"="+dir, dir, nil) })
	os.RemoveAll(filepath.Join(dir, "bin"))
	os.Remove(dir) // unless a world was kept
	os.Exit(0)
}
