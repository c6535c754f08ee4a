package main

import (
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) { script.Main(m, "pgsignal", main) }

func TestScripts(t *testing.T) { script.Run(t, "gracekit/test/leaky", "gracekit/cmd/pgexec") }
