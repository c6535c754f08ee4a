package service

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gracekit/lib/proc"
)

func TestAnIdentityFileHasTheIdentityAndTheBoot(t *testing.T) {
	d := openDir(t, tempDir(t))
	id := proc.ID{PID: 1234, Start: 5678901}
	must(t, WriteID(d, "pgid", id))
	boot, err := proc.Boot()
	must(t, err)
	checkText(t, d.file("pgid"), "1234:5678901\n"+boot+"\n")
	if read, err := ReadID(d, "pgid"); err != nil || read != id {
		t.Errorf("%v, %v", read, err)
	}
	if _, err := ReadID(d, "missing"); !errors.Is(err, proc.ErrGone) {
		t.Errorf("missing: %v", err)
	}
}

// What is left of a file that was not written to its end, or is of another boot, names no process. Anything else is refused.
func TestWhatIsNoIdentityFileOfThisBoot(t *testing.T) {
	boot, err := proc.Boot()
	must(t, err)
	digit := strings.IndexAny(boot, "0123456789")
	other := boot[:digit] + string('0'+(boot[digit]-'0'+1)%10) + boot[digit+1:]
	gone := map[string]bool{"": true, "\n": true, "1:5\n" + other: true, "sidekiq\n": false, "0:5\n" + boot: false, "1:5\n" + boot + "x": false,
		"1:5\nsidekiq": false, "1:5 6\n" + boot: false, "1:5\n" + boot + "\n" + boot: false}
	whole := fmt.Sprintf("%v\n%s", self(t), boot)
	for n := strings.IndexByte(whole, ':') + 1; n < len(whole); n++ {
		gone[whole[:n]] = true
	}
	d := openDir(t, tempDir(t))
	for text, gone := range gone {
		must(t, d.WriteFile("pgid", []byte(text), 0o644))
		_, errRead := ReadID(d, "pgid")
		_, errTarget := find(d.file("pgid"))
		for what, err := range map[string]error{"to read": errRead, "as a target": errTarget} {
			if err == nil || errors.Is(err, proc.ErrGone) != gone || !strings.Contains(err.Error(), d.file("pgid")+": ") {
				t.Errorf("%q %s: %v", text, what, err)
			}
		}
	}
}
