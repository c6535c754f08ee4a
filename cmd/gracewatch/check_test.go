package main

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

func TestACheckThatChangesNothingAllocatesNothing(t *testing.T) {
	// In the group of all tests others come and go while it is read, which may cost something.
	if err := unix.Setpgid(0, 0); err != nil && unix.Getpgrp() != os.Getpid() {
		t.Fatal(err)
	}
	for range 50 {
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { child.Process.Kill(); child.Wait() })
	}
	target, err := service.Parse(strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	for name, measure := range measures {
		for _, scope := range []proc.Scope{proc.ScopeProcess, proc.ScopeGroup, proc.ScopeTree, proc.ScopeChildren} {
			o := options{target: target, soft: units.KB(1 << 40), hard: units.KB(1 << 40), measure: measure, scope: scope}
			w := newWatch(o, cli.New("gracewatch", usage, io.Discard, io.Discard), newLog(io.Discard, o), -1)
			if code := w.meet(); code != cli.Continue {
				t.Fatalf("meet: exit %d", code)
			}
			if scope == proc.ScopeChildren && len(w.wards) != 50 {
				t.Fatalf("%d children are watched, want 50", len(w.wards))
			}
			check := func() {
				code := w.look(proc.Now())
				for _, d := range w.wards {
					if code != cli.Continue || d.misread.since > 0 || d.kb == 0 {
						t.Fatalf("%s of %v: exit %d, %d KB", name, scope, code, d.kb)
					}
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
