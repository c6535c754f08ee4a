// Package integration proves what only the real things show: runsv, s6-supervise, redis-server, Sidekiq, Puma.
package integration

import (
	"testing"

	"gracekit/test/harness"
)

// repo is the root of the source tree, seen from this package's folder.
const repo = "../.."

func TestMain(m *testing.M) {
	harness.Main(m, "12", nil, "./cmd/...")
}
