package main

import (
	"flag"
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "6") // scripts wait most of their time
	harness.ScriptMain(m, "gracewatch", main)
}

func TestScripts(t *testing.T) { harness.Scripts(t, "gracekit/test/leaky") }
