package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

// runVariable is in the environment of everything that this run starts.
const runVariable = "GRACEKIT_TEST_RUN"

// startSweeper starts a process that outlives this one, should it be killed or panic (go test -timeout),
// and then ends what its tests had started. It sees the end of the test binary as the end of its input.
func startSweeper(bin string) (stop func(), err error) {
	os.Setenv(runVariable, fmt.Sprintf("%d", os.Getpid()))
	sweeper := exec.Command(os.Args[0], bin)
	sweeper.Env = append(os.Environ(), roleVariable+"="+roleSweeper)
	in, err := sweeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := sweeper.Start(); err != nil {
		return nil, err
	}
	return func() { in.Close(); sweeper.Wait() }, nil
}

func sweeperMain(in io.Reader) int {
	io.Copy(io.Discard, in)
	defer os.RemoveAll(os.Args[1]) // bin
	mark := runVariable + "=" + os.Getenv(runVariable)
	for range 10 { // what is killed may have been about to fork
		left := processesWith(mark, nil)
		if len(left) == 0 {
			return 0
		}
		for _, p := range left {
			p.kill()
		}
	}
	return 1
}
