package main

import (
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) { harness.ScriptMain(m, "group-cleanup", main) }

func TestScripts(t *testing.T) { harness.Scripts(t, "gracekit/cmd/pgexec") }
