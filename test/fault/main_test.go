// Package fault proves what gracewatch does when something goes wrong: each test is a sentence of its contract, with
// real supervisors, real kills and files that lie.
package fault

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"gracekit/test/built"
)

const (
	roleVariable = "GRACEKIT_FAULT_ROLE"
	runVariable  = "GRACEKIT_FAULT_RUN"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "sweeper" {
		os.Exit(sweep(os.Stdin))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	bin, err := os.MkdirTemp("", "gkfault")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	os.Chmod(bin, 0o755)
	if err := built.Programs(bin, "./cmd/...", "./test/fault/worker", "./test/leaky"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	stop, err := startSweeper(bin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	built.Parallel("12")
	return m.Run()
}

// startSweeper starts a process that outlives this one, should it be killed, and then ends what its tests had started.
// It sees the end of the test binary as the end of its input.
func startSweeper(bin string) (stop func(), err error) {
	os.Setenv(runVariable, fmt.Sprint(os.Getpid()))
	sweeper := exec.Command(os.Args[0], bin)
	sweeper.Env = append(os.Environ(), roleVariable+"=sweeper")
	sweeper.SysProcAttr = ownSession
	in, err := sweeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := sweeper.Start(); err != nil {
		return nil, err
	}
	return func() { in.Close(); sweeper.Wait() }, nil
}

func sweep(in io.Reader) int {
	io.Copy(io.Discard, in)
	defer os.RemoveAll(os.Args[1])
	for range 10 { // what is killed may have been about to fork
		left := processesWith(runVariable + "=" + os.Getenv(runVariable))
		if len(left) == 0 {
			return 0
		}
		for _, p := range left {
			p.Signal(9)
			p.Close()
		}
	}
	return 1
}
