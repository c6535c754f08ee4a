package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An Event is a line of gracewatch's log.
type Event struct {
	Name   string // msg; empty for what is no event, such as a warning
	Fields map[string]string
	Line   string
}

// PID is that of the event's id.
func (e Event) PID() int { return PIDOf(e.Fields["id"]) }

var field = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S*)`)

// ParseEvent understands slog's text form.
func ParseEvent(line string) Event {
	e := Event{Fields: map[string]string{}, Line: line}
	if at := strings.Index(line, "level="); at >= 0 {
		for _, m := range field.FindAllStringSubmatch(line[at:], -1) {
			value := m[2]
			if unquoted, err := strconv.Unquote(value); err == nil {
				value = unquoted
			}
			e.Fields[m[1]] = value
		}
	}
	e.Name = e.Fields["msg"]
	return e
}

// A Log is the file in which a gracewatch logs: one that the test itself has started, or that of a service.
type Log struct {
	*Child // nil: it is that of a service
	w      *World
	file   string
}

// Gracewatch starts a gracewatch.
func (w *World) Gracewatch(args ...string) *Log {
	w.Helper()
	return w.Watch(w.Command("gracewatch", args...))
}

// Watch starts a command that becomes a gracewatch, or starts one.
func (w *World) Watch(c *exec.Cmd) *Log {
	w.Helper()
	f, err := os.CreateTemp(w.Dir, "gracewatch.*.log")
	w.Check(err)
	defer f.Close()
	c.Stdout, c.Stderr = f, f
	l := w.Follow(f.Name())
	l.Child = w.Start(c)
	return l
}

// Follow is the log of a service, once there is one.
func (w *World) Follow(file string) *Log {
	w.Helper()
	w.Eventually(file+" is there", func() bool { _, err := os.Stat(file); return err == nil })
	l := &Log{w: w, file: file}
	w.Cleanup(func() {
		if w.Failed() {
			w.Logf("%s:\n%s", file, l)
		}
	})
	return l
}

// String is what was logged so far, in whole lines.
func (l *Log) String() string { return wholeLines(l.file) }

func wholeLines(file string) string {
	text, _ := os.ReadFile(file)
	return string(text[:bytes.LastIndexByte(text, '\n')+1])
}

// Names are those of the events so far: of a process, by its identity, or of all ("").
func (l *Log) Names(id string) (names []string) {
	for line := range strings.Lines(l.String()) {
		if e := ParseEvent(strings.TrimSpace(line)); e.Name != "" && (id == "" || e.Fields["id"] == id) {
			names = append(names, e.Name)
		}
	}
	return names
}

// event is the expression of a line with an event.
func event(name string) string { return `level=\w+ msg=` + name + "( |$)" }

// Count is how many events of that name there were.
func (l *Log) Count(name string) int { return len(l.Lines(event(name))) }

// Event waits for the nth event (from 1) of a name.
func (l *Log) Event(name string, nth int) Event {
	l.w.Helper()
	return ParseEvent(l.Line(event(name), nth))
}

// Wants waits until these events, and no others, are those of a process.
func (l *Log) Wants(p Process, names ...string) {
	l.w.Helper()
	var got []string
	l.w.Eventually(fmt.Sprintf("%s: %v", p.ID(), names), func() bool {
		got = l.Names(p.ID())
		return len(got) >= len(names)
	})
	if !slices.Equal(got, names) {
		l.w.Errorf("events of %s: %v, want %v", p.ID(), got, names)
	}
}

// Lines are those so far that have the expression.
func (l *Log) Lines(expression string) []string {
	return regexp.MustCompile("(?m)^.*(?:"+expression+").*$").FindAllString(l.String(), -1)
}

// Line waits for the nth line (from 1) that has the expression, and returns it.
func (l *Log) Line(expression string, nth int) (line string) {
	l.w.Helper()
	l.w.Eventually(fmt.Sprintf("%q for the %d. time", expression, nth), func() bool {
		lines := l.Lines(expression)
		if len(lines) >= nth {
			line = lines[nth-1]
		}
		return line != ""
	})
	return line
}

// WantLines compares how many lines have the expression, at the end of a test.
func (l *Log) WantLines(expression string, want int) {
	l.w.Helper()
	if lines := l.Lines(expression); len(lines) != want {
		l.w.Errorf("%d lines have %q, want %d:\n%s", len(lines), expression, want, strings.Join(lines, "\n"))
	}
}

// Reads waits until its gracewatch has read that many times more: a check of a process is about three.
func (l *Log) Reads(more int) {
	l.w.Helper()
	reads := func() (n int) {
		_, rest, _ := strings.Cut(l.File("io"), "syscr: ")
		_, err := fmt.Sscan(rest, &n)
		l.w.Check(err)
		return n
	}
	most := reads() + more
	l.w.Eventually(fmt.Sprintf("%d more reads", more), func() bool { return reads() > most })
}

// KB is the size of a process, of which limits are then made.
func (w *World) KB(p Process) int {
	w.Helper()
	kb, err := strconv.Atoi(strings.TrimSpace(w.Wants(0, "rssprobe", p.ID()).Stdout))
	w.Check(err)
	return kb
}
