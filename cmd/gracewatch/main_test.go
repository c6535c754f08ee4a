package main

import (
	"flag"
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "6") // scripts wait most of their time
	script.Main(m, "gracewatch", main)
}

func TestScripts(t *testing.T) { script.Run(t, "gracekit/test/leaky") }
