package main

import (
	"flag"
	"os/exec"
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // scripts wait most of their time
	harness.ScriptMain(m, "sidekiq-fleet", main)
}

func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (test/run installs it)")
	}
	harness.Scripts(t, "gracekit/cmd/graceful-restart")
}
