package integration

import (
	"testing"

	"gracekit/test/harness"
)

// A sandbox is a world with what this package is about.
type sandbox struct{ *harness.World }

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	return &sandbox{harness.New(t)}
}

func bothSupervisors(t *testing.T, test func(s *sandbox, dir string, start func() harness.Service)) {
	harness.Services(t, func(w *harness.World, dir string, start func() harness.Service) { test(&sandbox{w}, dir, start) })
}
