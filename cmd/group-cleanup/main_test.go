package main

import (
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) { script.Main(m, "group-cleanup", main) }

func TestScripts(t *testing.T) { script.Run(t, "gracekit/cmd/pgexec") }
