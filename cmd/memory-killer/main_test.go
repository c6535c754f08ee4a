package main

import (
	"os"
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) {
	if os.Args[0] == detachedName {
		main()
	}
	script.Main(m, "memory-killer", main)
}

func TestScripts(t *testing.T) {
	script.Run(t, "gracekit/cmd/gracewatch", "gracekit/cmd/graceful-restart", "gracekit/cmd/sidekiq-fleet", "gracekit/cmd/pgexec")
}
