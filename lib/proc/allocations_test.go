//go:build !race

package proc

import (
	"os"
	"testing"
)

// The race detector allocates: test/run runs this without it.
func TestACheckAllocatesNothing(t *testing.T) {
	p, sc := open(t, os.Getpid()), newScanner(t)
	measure := func() {
		_, err := sc.Usage(p, ScopeProcess, RSS|Swap)
		check(t, err)
	}
	measure() // the first opens the files
	if n := testing.AllocsPerRun(100, measure); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
