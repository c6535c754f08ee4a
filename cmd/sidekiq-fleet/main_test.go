package main

import (
	"os/exec"
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) { script.Main(m, "sidekiq-fleet", main) }

func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed (test/run installs it)")
	}
	script.Run(t)
}
