// Package integration proves what only the real things show: runsv, s6-supervise, redis-server, Sidekiq, Puma.
package integration

import (
	"testing"

	"gracekit/test/harness"
)

// repo is the root of the source tree, seen from this package's folder.
const repo = "../.."

// rolePidns is the test binary itself, again, as process 1 of a pid namespace.
const rolePidns = "pidns"

func TestMain(m *testing.M) {
	harness.Main(m, "12", map[string]func() int{rolePidns: m.Run}, "./cmd/...", "./test/leaky") // PATH is the parent's there
}
