// Package integration proves the contract against the real things: runsv, s6-supervise, redis-server, Sidekiq.
// Nothing here is a stand-in but for the balloon, a process that grows and shrinks when it is told to.
package integration

import (
	"fmt"
	"os"
	"testing"

	"gracekit/test/built"
)

// repo is the root of the source tree, seen from this package's folder.
const repo = "../.."

// The test binary is started by its own tests in these parts too.
const (
	roleVariable = "GRACEKIT_TEST_ROLE"
	roleBalloon  = "balloon"
	roleSweeper  = "sweeper"
	rolePidns    = "pidns" // the test itself, again, as process 1 of a pid namespace
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleBalloon:
		os.Exit(balloonMain(os.Stdin, os.Stdout))
	case roleSweeper:
		os.Exit(sweeperMain(os.Stdin))
	case rolePidns:
		os.Exit(m.Run()) // PATH is the parent's
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	bin, err := os.MkdirTemp("", "gkbin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	os.Chmod(bin, 0o755) // for tests as another user
	if err := built.Programs(bin, "./cmd/..."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := built.Scripts(bin); err != nil {
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
