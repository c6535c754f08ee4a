package main

import (
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) { harness.ScriptMain(m, "gracestat", main) }

func TestScripts(t *testing.T) {
	harness.Scripts(t, "gracekit/cmd/gracewatch", "gracekit/cmd/memory-killer", "gracekit/cmd/graceful-restart")
}
