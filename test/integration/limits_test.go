package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gracekit/test/starvation"
)

// kb is the size of a process, of which limits are then made.
func (s *sandbox) kb(p process) int {
	s.Helper()
	kb, err := strconv.Atoi(strings.TrimSpace(s.wants(0, "rssprobe", p.id()).stdout))
	if err != nil {
		s.Fatal(err)
	}
	return kb
}

// Back under the soft limit within the grace time: no restart, and the next time the grace time starts anew.
func TestBackUnderTheLimitWithinTheGraceTime(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	grace := 5 * time.Second // in which the test itself has something to do
	w := s.gracewatch("-s", fmt.Sprint(s.kb(b.process)+50*1024), "-g", "5", "-i", "100ms", b.id(), "pgsignal", "-p", "{}", "KILL/5")
	w.event("watching", 1)
	b.holds(s, 100)
	first := w.event("over-soft", 1)
	b.holds(s, 0)
	w.event("under-soft", 1)
	s.waitFor("the grace time would be over", func() bool { return time.Since(first.at) > grace+time.Second })

	small := time.Now() // events have the time at which they were read, which may be late
	b.holds(s, 100)
	w.event("over-soft", 2)
	over := w.event("grace-over", 1)
	if lasted := over.at.Sub(small); lasted < grace {
		s.Errorf("the second grace time lasted %v, want %v", lasted, grace)
	}
	<-b.gone
	w.event("restart-done", 1)
	want := []string{"over-soft", "under-soft", "over-soft", "grace-over", "restart-begin", "restart-done"}
	got := slices.DeleteFunc(w.names(), func(name string) bool { return !slices.Contains(want, name) })
	if !slices.Equal(got, want) {
		s.Errorf("events %v, want %v", got, want)
	}
}

// Over the hard limit the restart begins within one interval and 100 ms, whatever the grace time.
func TestHardLimit(t *testing.T) {
	t.Parallel()
	// Measured from before the balloon is told to grow, to the reading of the event here. What its growth and the reading
	// take on a loaded machine of 2 cores is no fault of gracewatch: 400 ms. It stays under the 2 intervals of a missed check.
	interval, noise := time.Second, 400*time.Millisecond
	for phase := range 4 { // of the interval, in which the limit is crossed
		t.Run(fmt.Sprint(phase), func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			b := s.balloon()
			hard := s.kb(b.process) + 50*1024
			w := s.gracewatch("-H", fmt.Sprint(hard), "-g", "1h", "-i", "1", b.id(), "pgsignal", "-p", "{}", "KILL/5")
			started := w.event("watching", 1)
			s.waitFor("the phase", func() bool { return time.Since(started.at) > time.Duration(phase)*interval/4 })
			starved := starvation.Measure(s)
			grows := time.Now()
			b.grow(100) // a check may come, and end it, before it has the whole
			begin := w.event("restart-begin", 1)
			if took := begin.at.Sub(grows); took > interval+100*time.Millisecond+noise+2*starved() { // this process, and the other one
				s.Errorf("the restart began %v after it was told to grow, want %v, 100 ms and %v of noise; starved for %v", took, interval, noise, starved())
			} else {
				t.Logf("the restart began after %v", took)
			}
			if begin.fields["reason"] != "hard" {
				s.Errorf("reason is %q, want hard", begin.fields["reason"])
			}
			over := w.event("over-hard", 1)
			if kb, _ := strconv.Atoi(over.fields["rss_kb"]); kb <= hard {
				s.Errorf("rss_kb=%s in %q, want more than %d", over.fields["rss_kb"], over.line, hard)
			}
			<-b.gone
			w.event("restart-done", 1)
		})
	}
}

// The program behind gracewatch gets the identity for {}, and the rest in its environment.
func TestWhatTheRestartIsTold(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	told := s.path("told")
	w := s.gracewatch("-s", "1M", "-g", "0", "-i", "100ms", b.id(),
		"sh", "-c", `{ echo "argument=$1"; env | grep ^GRACE_; } >"$2"; pgsignal -p "$1" KILL/5`, "sh", "{}", told)
	w.event("restart-done", 1)
	text, _ := os.ReadFile(told)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, want := range []string{"argument=" + b.id(), "GRACE_TARGET=" + b.id(), "GRACE_REASON=soft", "GRACE_LIMIT_KB=1024"} {
		if !slices.Contains(lines, want) {
			s.Errorf("want %s, got\n%s", want, text)
		}
	}
	for _, name := range []string{"GRACE_RSS_KB=", "GRACE_OVER_SECONDS="} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) && len(l) > len(name) }) {
			s.Errorf("want %s, got\n%s", name, text)
		}
	}
}
