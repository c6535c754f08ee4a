package main

import (
	"os"
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) {
	if os.Args[0] == detachedName {
		main()
	}
	harness.ScriptMain(m, "memory-killer", main)
}

func TestScripts(t *testing.T) {
	harness.Scripts(t, "gracekit/cmd/gracewatch", "gracekit/cmd/graceful-restart", "gracekit/cmd/sidekiq-fleet", "gracekit/cmd/pgexec")
}
