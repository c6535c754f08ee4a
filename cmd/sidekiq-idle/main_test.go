package main

import (
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) { harness.ScriptMain(m, "sidekiq-idle", main) }

func TestScripts(t *testing.T) { harness.Scripts(t) }
