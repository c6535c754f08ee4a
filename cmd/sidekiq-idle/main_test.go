package main

import (
	"testing"

	"gracekit/test/script"
)

func TestMain(m *testing.M) { script.Main(m, "sidekiq-idle", main) }

func TestScripts(t *testing.T) { script.Run(t) }
