package service

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The samples in testdata were read from live services; the names say of which
// supervisor and in which state.
func TestTheStatusOfEachSupervisorIsRead(t *testing.T) {
	files, err := filepath.Glob("testdata/*.status")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".status")
		s, err := parseStatus(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		fifo, state := "control", name
		for _, prefix := range []string{"runit-2.1.2-", "s6-2.11.3.2-", "s6-2.13.1.0-"} {
			state = strings.TrimPrefix(state, prefix)
		}
		if strings.HasPrefix(name, "runit") {
			fifo = "ok"
		}
		if want := phaseOf(t, state); s.phase != want || s.fifo != fifo || (s.pid == 0) != (want == down) {
			t.Errorf("%s: %+v, want phase %d", name, s, want)
		}
		wantsDown := strings.Contains(state, "want-down")
		if s.wanted.Paused != strings.HasPrefix(state, "paused") || wantsDown == s.wanted.Up && (wantsDown || strings.Contains(state, "want-up")) {
			t.Errorf("%s: %+v is wanted", name, s.wanted)
		}
	}
}

// phaseOf is what a sample's name says.
func phaseOf(t *testing.T, state string) phase {
	switch state {
	case "after-cont", "paused-sv-pause", "restarted", "run", "sv-once", "sv-term-on-a-process-ignoring-term-want-up",
		"want-down-process-still-alive-ignores-term", "continued", "o-once-at-most", "paused",
		"up-notification-fd-not-ready-yet", "up-ready", "up", "want-down-process-still-alive":
		return running
	case "after-runsv-exit", "in-finish-after-sigkill-want-up", "in-finish-after-sv-term-want-up", "in-finish-want-down",
		"run-exits-37-repeatedly", "run-script-missing-cannot-exec", "sv-exit-in-progress", "exit-37-in-finish":
		return finishing
	case "after-runsv-exit-2", "down-after-finish", "down-file", "down", "after-s6-supervise-exit", "down-after-exit-37",
		"down-file-never-started", "finish-exits-125-permanent-failure", "run-exits-1-at-once-between-restarts", "exits-1-again":
		return down
	}
	t.Fatalf("no phase known for sample %q", state)
	return 0
}

func TestThePIDStandsWhereEachLayoutHasIt(t *testing.T) {
	for file, pid := range map[string]int{
		"runit-2.1.2-run":                 17565,
		"s6-2.11.3.2-up":                  0x4b47,
		"s6-2.13.1.0-up":                  0x4b9b,
		"s6-2.11.3.2-paused":              0x4b47,
		"runit-2.1.2-down":                0,
		"s6-2.13.1.0-in-finish-want-down": 0x4d97,
	} {
		text, err := os.ReadFile("testdata/" + file + ".status")
		if err != nil {
			t.Fatal(err)
		}
		if s, err := parseStatus(text); err != nil || s.pid != pid {
			t.Errorf("%s: %+v, %v; want pid %d", file, s, err, pid)
		}
	}
}

// Versions of which no live sample is at hand, made from their sources: s6 2.14 and 2.15 write the 35 bytes of 2.12 again,
// and from 2.13.2 on a service that was never started has flag 1, which elsewhere means paused. runit 2.2 and 2.3
// write what 2.1.2 does.
func TestTheStatusOfLaterS6IsRead(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile("testdata/" + name + ".status")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	up, never := read("s6-2.11.3.2-up"), read("s6-2.11.3.2-down-file-never-started")
	insert := func(text []byte) []byte { // the process group, as in 2.13
		return slices.Concat(text[:32], text[24:32], text[32:])
	}
	flags := func(text []byte, f byte) []byte {
		text = slices.Clone(text)
		text[len(text)-1] = f
		return text
	}
	for name, c := range map[string]struct {
		text []byte
		want status
	}{
		"2.15, up":                        {up, status{phase: running, pid: 0x4b47, fifo: "control", wanted: WantedState{Up: true}}},
		"2.15, up and ready":              {flags(up, 0x0c), status{phase: running, pid: 0x4b47, fifo: "control", wanted: WantedState{Up: true}}},
		"2.15, paused":                    {flags(up, 0x05), status{phase: running, pid: 0x4b47, fifo: "control", wanted: WantedState{Up: true, Paused: true}}},
		"2.15, wanted down, still there":  {flags(up, 0x00), status{phase: running, pid: 0x4b47, fifo: "control", wanted: WantedState{}}},
		"2.15, in finish":                 {flags(up, 0x06), status{phase: finishing, pid: 0x4b47, fifo: "control", wanted: WantedState{Up: true}}},
		"2.15, in finish, wanted down":    {flags(up, 0x02), status{phase: finishing, pid: 0x4b47, fifo: "control", wanted: WantedState{}}},
		"2.12, never started":             {never, status{phase: down, pid: 0, fifo: "control", wanted: WantedState{}}},
		"2.15, never started":             {flags(never, 0x09), status{phase: down, pid: 0, fifo: "control", wanted: WantedState{}}},
		"2.15, before the first start":    {flags(never, 0x0d), status{phase: down, pid: 0, fifo: "control", wanted: WantedState{Up: true}}},
		"2.15, down between two starts":   {flags(never, 0x0c), status{phase: down, pid: 0, fifo: "control", wanted: WantedState{Up: true}}},
		"2.13.2, never started":           {insert(flags(never, 0x09)), status{phase: down, pid: 0, fifo: "control", wanted: WantedState{}}},
		"2.13.2, before the first start":  {insert(flags(never, 0x0d)), status{phase: down, pid: 0, fifo: "control", wanted: WantedState{Up: true}}},
		"2.13, up":                        {insert(up), status{phase: running, pid: 0x4b47, fifo: "control", wanted: WantedState{Up: true}}},
		"2.13, in finish":                 {insert(flags(up, 0x06)), status{phase: finishing, pid: 0x4b47, fifo: "control", wanted: WantedState{Up: true}}},
		"2.13, wanted down, still there":  {insert(flags(up, 0x00)), status{phase: running, pid: 0x4b47, fifo: "control", wanted: WantedState{}}},
		"2.13, down between two restarts": {insert(flags(never, 0x0c)), status{phase: down, pid: 0, fifo: "control", wanted: WantedState{Up: true}}},
	} {
		s, err := parseStatus(c.text)
		s.stamp = time.Time{} // TestTheStampIsTheTimeOfDay
		if err != nil || s != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, s, err, c.want)
		}
	}
	for _, text := range [][]byte{flags(up, 0x10), insert(flags(up, 0x10))} {
		if s, err := parseStatus(text); err == nil {
			t.Errorf("flag 16: %+v", s)
		}
	}
}

func TestTheStampIsTheTimeOfDay(t *testing.T) {
	for file, want := range map[string]time.Time{ // both were read on 2026-11-22
		"runit-2.1.2-run": time.Unix(0x6b02f72b-10, 0x0f1123bc),
		"s6-2.13.1.0-up":  time.Unix(0x6b02f76d-37, 0x1bbc32a4),
	} {
		text, err := os.ReadFile("testdata/" + file + ".status")
		if err != nil {
			t.Fatal(err)
		}
		if s, err := parseStatus(text); err != nil || !s.stamp.Equal(want) || s.stamp.Year() != 2026 {
			t.Errorf("%s: %v, %v; want %v", file, s.stamp, err, want)
		}
	}
}

func TestAStatusOfAnyOtherFormIsRefused(t *testing.T) {
	good, err := os.ReadFile("testdata/runit-2.1.2-run.status")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 18, 19, 21, 26, 34, 36, 42, 44} { // 18: daemontools; 26: s6 2.1
		if s, err := parseStatus(make([]byte, n)); err == nil || !strings.Contains(err.Error(), "want 20 of runit") {
			t.Errorf("%d bytes: %+v, %v", n, s, err)
		}
	}
	for at, value := range map[int]byte{0: 0, 1: 1, 8: 0xff, 15: 0xff, 16: 2, 18: 2, 19: 3} {
		bad := append([]byte(nil), good...)
		bad[at] = value
		if s, err := parseStatus(bad); err == nil {
			t.Errorf("byte %d is %#x: %+v", at, value, s)
		}
	}
}

func FuzzStatus(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.status")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStatus(text)
		if err == nil && (s.pid < 0 || s.phase == running && s.pid == 0 || s.fifo == "") {
			t.Errorf("%x is %+v", text, s)
		}
	})
}
