package fault

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	smallPages = "9000 2000 500 300 0 5000 0\n                     \n"
	largePages = "29000 20000 500 300 0 5000 0\n                   \n"
)

// A reading of /proc that is nonsense, as lxcfs has shown, is logged once and skipped: it stops no grace timer and starts no
// restart; when it makes sense again, all goes on.
func TestAReadingThatIsNonsense(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	p := s.Start(s.Command("sleep", "1000")).Process // one thread: there is no other to read of
	statm, err := os.Create(s.Path("statm"))
	s.Check(err)
	defer statm.Close()
	shows := func(text string) { // in one write: no reader gets half of it
		_, err := fmt.Fprintf(io.NewOffsetWriter(statm, 0), "%-*s", len(smallPages), text)
		s.Check(err)
	}
	shows(smallPages)
	l := s.mounted(fmt.Sprintf("mount --bind statm /proc/%d/statm", p.PID), p, "-g 1h -i 20ms -H 2000000", "touch restarted")
	want := []string{"watching"}
	l.Line("msg=watching", 1)
	for i, nonsense := range []string{
		"Transport endpoint is not connected",
		"100 99999999999 0 0 0 0 0\n", // more than the machine has
		"0 0 0 0 0 0 0",
	} {
		shows(nonsense)
		l.Line("msg=read-failed", 2*i+1)
		shows(largePages)
		l.Line("msg=over-soft", i+1)
		shows(nonsense)
		l.Line("msg=read-failed", 2*i+2)
		l.Reads(50)
		shows(smallPages)
		l.Line("msg=under-soft", i+1)
		want = append(want, "read-failed", "over-soft", "read-failed", "under-soft")
	}
	if events := l.Names(""); !slices.Equal(events, want) {
		s.Errorf("%q, want %q", events, want)
	}
}

// A reading of /proc that fails (EIO) is logged once; when /proc is itself again, gracewatch is, too.
func TestAReadingThatFails(t *testing.T) {
	t.Parallel()
	for _, measure := range []string{"rss statm", "anon status", "pss smaps_rollup"} {
		t.Run(measure, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			p, j := s.alone()
			s.grow(p, j)
			measure, file, _ := strings.Cut(measure, " ")
			// At its address 0, where it has nothing, a process's mem says EIO.
			l := s.mounted(fmt.Sprintf("mount --bind /proc/%d/mem /proc/%[1]d/%s", p.PID, file), p, "-g 100ms -i 20ms -m "+measure, j.restarter())
			l.Line("msg=read-failed .*input/output error", 1)
			l.Reads(15)
			l.WantLines("msg=", 2)
			s.inMountsOf(l, fmt.Sprintf("umount -l /proc/%d/%s", p.PID, file))
			l.Line("msg=restart-done", 1)
			s.Exits(l.Child, 0)
			l.WantLines("msg=read-failed", 1)
		})
	}
}
