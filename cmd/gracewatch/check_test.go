package main

import (
	"io"
	"os"
	"strconv"
	"testing"

	"gracekit/lib/cli"
	"gracekit/lib/limit"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

func TestACheckThatChangesNothingAllocatesNothing(t *testing.T) {
	target, err := service.Parse(strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for name, measure := range measures {
		for _, scope := range []proc.Scope{proc.Alone, proc.Group, proc.Tree} {
			o := options{target: target, soft: limit.KB(1 << 40), hard: limit.KB(1 << 40), measure: measure, scope: scope}
			w := newWatch(o, cli.New("gracewatch", usage, io.Discard, io.Discard), newLog(io.Discard, o), -1)
			if code := w.meet(); code != cli.Continue {
				t.Fatalf("meet: exit %d", code)
			}
			check := func() {
				d := w.wards[0]
				if code := w.look(proc.Now()); code != cli.Continue || d.misread.since > 0 || d.kb == 0 {
					t.Fatalf("%s of %v: exit %d, %d KB", name, scope, code, d.kb)
				}
			}
			check() // the buffers get their size
			if n := testing.AllocsPerRun(10, check); n != 0 {
				t.Errorf("%s of %v: %v allocations a check", name, scope, n)
			}
			w.close()
		}
	}
}
