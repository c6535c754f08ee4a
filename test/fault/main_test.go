// Package fault proves what gracewatch does when something goes wrong: each test is a sentence of its contract, with
// real supervisors, real kills and files that lie.
package fault

import (
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, "./cmd/...", "./test/fault/worker", "./test/leaky")
}
