package main

import (
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) { harness.ScriptMain(m, "pgsignal", main) }

func TestScripts(t *testing.T) { harness.Scripts(t, "gracekit/test/leaky", "gracekit/cmd/pgexec") }
