package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// prog exits 75: not now. It is asked again after the retry time, as long as the process is over its limit.
func TestRestartThatIsPostponed(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	w := s.gracewatch("-s", "1", "-g", "0", "-i", "100ms", "-r", "300ms", b.id(), "sh", "-c", "echo >>asked; exit 75")
	w.event("restart-postponed", 1)
	w.event("restart-postponed", 2)
	first, second := w.event("restart-begin", 1), w.event("restart-begin", 2)
	if between := overSeconds(t, second) - overSeconds(t, first); between < 0.3 { // by gracewatch's clock
		s.Errorf("asked again after %v s, want 0.3", between)
	}
	if !b.alive() || !w.alive() {
		s.Error("one of them has ended")
	}
}

// overSeconds is how long the process had been over the limit at an event.
func overSeconds(t *testing.T, e event) float64 {
	t.Helper()
	seconds, err := strconv.ParseFloat(e.fields["over_s"], 64)
	if err != nil {
		t.Fatalf("%s: %v", e.line, err)
	}
	return seconds
}

// prog says that it is done, but the process lives; or prog fails: an error, and another try.
func TestRestartThatFails(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"exits 0, but the process lives": "exit 0",
		"exits 111":                      "exit 111",
		"ends by a signal":               "kill -9 $$",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			b := s.balloon()
			w := s.gracewatch("-s", "1", "-g", "0", "-i", "100ms", "-r", "100ms", b.id(), "sh", "-c", script)
			if failed := w.event("restart-failed", 2); failed.fields["level"] != "ERROR" {
				s.Errorf("want an error: %s", failed.line)
			}
			if n := w.count("restart-done"); n != 0 || !b.alive() {
				s.Errorf("%d times done", n)
			}
		})
	}
}

// A program that is not there is an error, too, and gracewatch goes on.
func TestRestartProgramThatIsMissing(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	w := s.gracewatch("-s", "1", "-g", "0", "-i", "100ms", "-r", "100ms", b.id(), s.path("nosuchprogram"), "{}")
	select {
	case <-w.gone: // refused at once
		if w.code != 127 && w.code != 111 && w.code != 100 {
			s.Errorf("exit %d", w.code)
		}
	case <-w.happens("restart-failed", 2):
	}
	if !b.alive() {
		s.Error("signalled")
	}
}

// Without a prog, gracewatch exits 0 at the point where the restart would be: `gracewatch ... && echo time to go`.
func TestWithoutProgram(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	w := s.gracewatch("-s", "1", "-g", "200ms", "-i", "100ms", b.id())
	<-w.gone
	if w.code != 0 || !b.alive() {
		s.Errorf("exit %d, want 0", w.code)
	}
	w.event("grace-over", 1)
}

// -n says what it would do, and does nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	w := s.gracewatch("-n", "-s", "1", "-g", "0", "-i", "100ms", b.id(), "touch", s.path("started"))
	w.event("restart-begin", 1)
	if _, err := os.Stat(s.path("started")); err == nil || !b.alive() {
		s.Error("it did something")
	}
}

// -L: once over the soft limit there is no way back.
func TestLegacyTimerHasNoWayBack(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	w := s.gracewatch("-L", "-s", fmt.Sprint(s.kb(b.process)+50*1024), "-g", "1", "-i", "100ms", b.id(), "pgsignal", "-p", "{}", "KILL/5")
	w.event("watching", 1)
	b.holds(s, 100)
	w.event("over-soft", 1)
	b.holds(s, 0)
	if begin := w.event("restart-begin", 1); begin.fields["reason"] != "legacy" {
		s.Errorf("reason is %q, want legacy", begin.fields["reason"])
	}
	if slices.Contains(w.names(), "under-soft") {
		s.Error("under-soft, though there is no way back")
	}
	<-b.gone
	w.event("restart-done", 1)
}

// TERM ends gracewatch; the restart that is under way goes on by itself.
func TestRestartOutlivesGracewatch(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	b := s.balloon()
	release := s.path("release")
	w := s.gracewatch("-s", "1", "-g", "0", "-i", "100ms", b.id(), "sh", "-c",
		`until [ -e "$1" ]; do sleep 0.05; done; exec pgsignal -p "$2" KILL/5`, "sh", release, "{}")
	w.event("restart-begin", 1)
	syscall.Kill(w.pid, syscall.SIGTERM)
	<-w.gone
	if w.code != 0 {
		s.Errorf("exit %d by TERM, want 0", w.code)
	}
	if !b.alive() {
		s.Error("ended too early")
	}
	s.write("release", "", 0o644)
	<-b.gone
}

// No limit: in front of a service it says so and waits, so that a supervisor does not restart it in a loop; else it exits 0.
func TestNoLimitIsDisabled(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	v := s.runsv(s.path("svc"))
	p := v.running()
	w := s.gracewatch("-s", "0", "-H", "0", v.dir, "touch", s.path("started"))
	w.event("disabled", 1)
	if !w.alive() {
		s.Error("it has ended")
	}
	w2 := s.gracewatch("-s", "0", p.id(), "touch", s.path("started"))
	<-w2.gone
	if w2.code != 0 {
		s.Errorf("exit %d, want 0", w2.code)
	}
	w2.event("disabled", 1)
}

// happens is closed when the nth event of a name has come.
func (w *gracewatch) happens(name string, nth int) <-chan struct{} {
	came := make(chan struct{})
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			if w.count(name) >= nth {
				close(came)
				return
			}
			if w.s.Context().Err() != nil {
				return
			}
		}
	}()
	return came
}
