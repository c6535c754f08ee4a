package integration

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An event is a line of gracewatch's, with the time at which it was read here.
type event struct {
	at     time.Time
	name   string // msg
	fields map[string]string
	line   string
}

// A gracewatch is one under observation: started by the test itself, or seen through a service's log.
type gracewatch struct {
	*child
	s      *sandbox
	mu     sync.Mutex
	events []event
}

var field = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S*)`)

// parseEvent understands slog's text form; what is no event (a warning of a recipe, say) has no name.
func parseEvent(line string) event {
	e := event{time.Now(), "", map[string]string{}, line}
	if at := strings.Index(line, "level="); at >= 0 {
		for _, m := range field.FindAllStringSubmatch(line[at:], -1) {
			value := m[2]
			if unquoted, err := strconv.Unquote(value); err == nil {
				value = unquoted
			}
			e.fields[m[1]] = value
		}
	}
	e.name = e.fields["msg"]
	return e
}

func (w *gracewatch) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		w.mu.Lock()
		w.events = append(w.events, parseEvent(lines.Text()))
		w.mu.Unlock()
	}
}

// gracewatch starts a gracewatch and reads its events as they are written.
func (s *sandbox) gracewatch(args ...string) *gracewatch {
	s.Helper()
	return s.watchedBy(s.command("gracewatch", args...))
}

func (s *sandbox) watchedBy(c *exec.Cmd) *gracewatch {
	s.Helper()
	r, out, err := os.Pipe()
	if err != nil {
		s.Fatal(err)
	}
	c.Stderr = out
	w := &gracewatch{child: s.start(c), s: s}
	out.Close()
	go w.read(r)
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("what gracewatch said:\n%s", w)
		}
		r.Close()
	})
	return w
}

// eventsIn follows a log file of svlogd's, from its beginning.
func (s *sandbox) eventsIn(file string) *gracewatch {
	s.Helper()
	s.waitFor(file+" is there", func() bool { _, err := os.Stat(file); return err == nil })
	f, err := os.Open(file)
	if err != nil {
		s.Fatal(err)
	}
	w := &gracewatch{s: s}
	r, out := io.Pipe()
	stop := make(chan struct{})
	go func() {
		for {
			io.Copy(out, f) // to the end, as of now
			select {
			case <-stop:
				f.Close()
				out.Close()
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	go w.read(r)
	s.Cleanup(func() {
		close(stop)
		if s.Failed() {
			s.Logf("what gracewatch said:\n%s", w)
		}
	})
	return w
}

func (w *gracewatch) seen() []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]event(nil), w.events...)
}

func (w *gracewatch) String() string {
	var b strings.Builder
	for _, e := range w.seen() {
		fmt.Fprintf(&b, "%s %s\n", e.at.Format("05.000"), e.line)
	}
	return b.String()
}

// names are the events so far, in order, without those that come at unforeseen times.
func (w *gracewatch) names() (names []string) {
	for _, e := range w.seen() {
		if e.name != "" {
			names = append(names, e.name)
		}
	}
	return names
}

// event waits for the nth event (from 1) of a name.
func (w *gracewatch) event(name string, nth int) (found event) {
	w.s.Helper()
	w.s.waitFor(fmt.Sprintf("%s for the %d. time", name, nth), func() bool {
		n := 0
		for _, e := range w.seen() {
			if e.name == name {
				if n++; n == nth {
					found = e
					return true
				}
			}
		}
		return false
	})
	return found
}
