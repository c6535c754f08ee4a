package fault

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"gracekit/test/harness"
)

const (
	smallPages = "9000 2000 500 300 0 5000 0\n                     \n"
	largePages = "29000 20000 500 300 0 5000 0\n                   \n"
)

// lies starts a gracewatch that sees a file of the process as what is mounted over it.
func (s *stage) lies(p harness.Process, from, name, options string, prog ...string) *harness.Log {
	s.Helper()
	s.NeedThat("unshare", "-m", "true")
	argv := []string{"unshare", "-m", "sh", "-c", fmt.Sprintf("mount --bind %s /proc/%d/%s && exec gracewatch \"$@\"", from, p.PID, name),
		"sh", "-s", fmt.Sprint(soft)}
	argv = append(append(argv, strings.Fields(options)...), p.ID())
	return s.Watch(s.Command(argv[0], append(argv[1:], prog...)...))
}

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
	l := s.lies(p, s.Path("statm"), "statm", "-g 1h -i 20ms -H 2000000", "touch", s.Path("restarted"))
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
			l := s.lies(p, fmt.Sprintf("/proc/%d/mem", p.PID), file, "-g 100ms -i 20ms -m "+measure, "worker", "restart", j.file)
			l.Line("msg=read-failed .*input/output error", 1)
			l.Reads(15)
			l.WantLines("msg=", 2)
			s.Run("nsenter", "-t", fmt.Sprint(l.PID), "-m", "umount", "-l", fmt.Sprintf("/proc/%d/%s", p.PID, file))
			l.Line("msg=restart-done", 1)
			s.Exits(l.Child, 0)
			l.WantLines("msg=read-failed", 1)
		})
	}
}
