package main

import (
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) { script.Main(m, "gracestat", main) }

func TestScripts(t *testing.T) {
	script.Run(t, "gracekit/cmd/gracewatch", "gracekit/cmd/memory-killer", "gracekit/cmd/graceful-restart")
}
