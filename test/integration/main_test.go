// Package integration proves the contract against the real things: runsv, s6-supervise, redis-server, Sidekiq.
// Nothing here is a stand-in but for the balloon, a process that grows and shrinks when it is told to.
package integration

import (
	"os"
	"testing"

	"gracekit/test/harness"
)

// repo is the root of the source tree, seen from this package's folder.
const repo = "../.."

// What the test binary is for its own tests, too.
const (
	roleBalloon = "balloon"
	rolePidns   = "pidns" // the test itself, again, as process 1 of a pid namespace
)

func TestMain(m *testing.M) {
	harness.Main(m, "12", map[string]func() int{
		roleBalloon: func() int { return balloonMain(os.Stdin, os.Stdout) },
		rolePidns:   m.Run, // PATH is the parent's
	}, "./cmd/...")
}
