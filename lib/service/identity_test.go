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
}

func TestAnIdentityFileThatIsEmptyTornOrOfAnotherBootNamesNoProcess(t *testing.T) {
	id := self(t)
	boot, err := proc.Boot()
	must(t, err)
	whole := fmt.Sprintf("%v\n%s", id, boot)
	digit := strings.IndexAny(boot, "0123456789")
	other := boot[:digit] + string('0'+(boot[digit]-'0'+1)%10) + boot[digit+1:]
	texts := []string{"", "\n", fmt.Sprintf("%v\n%s\n", id, other)}
	for n := strings.IndexByte(whole, ':') + 1; n < len(whole); n++ {
		texts = append(texts, whole[:n])
	}
	d := openDir(t, tempDir(t))
	for _, text := range texts {
		must(t, d.WriteFile("pgid", []byte(text), 0o644))
		if read, err := ReadID(d, "pgid"); !errors.Is(err, proc.ErrGone) || !strings.HasPrefix(err.Error(), d.file("pgid")+": ") {
			t.Errorf("%q: %v, %v", text, read, err)
		}
		if found, err := find(d.file("pgid")); !errors.Is(err, proc.ErrGone) {
			t.Errorf("%q as a target: %v, %v", text, found, err)
		}
	}
	if _, err := ReadID(d, "missing"); !errors.Is(err, proc.ErrGone) {
		t.Errorf("missing: %v", err)
	}
}

func TestAnythingButAnIdentityIsRefused(t *testing.T) {
	boot, err := proc.Boot()
	must(t, err)
	d := openDir(t, tempDir(t))
	for _, text := range []string{"sidekiq\n", "0:5\n" + boot, "1:5\n" + boot + "x", "1:5\nsidekiq", "1:5 6\n" + boot, "1:5\n" + boot + "\n" + boot} {
		must(t, d.WriteFile("pgid", []byte(text), 0o644))
		if id, err := ReadID(d, "pgid"); err == nil || errors.Is(err, proc.ErrGone) {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	}
}
