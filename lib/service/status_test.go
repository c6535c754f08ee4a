package service

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is a status that was read from a live service. Its folder is the phase; its name says of which supervisor and what is wanted.
func sample(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".status")
	must(t, err)
	return text
}

func TestTheStatusOfEachSupervisorIsRead(t *testing.T) {
	for folder, phase := range map[string]phase{"running": running, "finishing": finishing, "down": down} {
		files, _ := filepath.Glob("testdata/" + folder + "/*.status")
		if len(files) == 0 {
			t.Errorf("%s: no samples", folder)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			name, fifo := filepath.Base(file), "control"
			if strings.HasPrefix(name, "runit") {
				fifo = "ok"
			}
			s, err := parseStatus(text)
			if err != nil || s.phase != phase || s.fifo != fifo || (s.pid == 0) != (phase == down) {
				t.Errorf("%s: %+v, %v; want phase %d", name, s, err, phase)
			}
			wantsUp, wantsDown := strings.Contains(name, "want-up"), strings.Contains(name, "want-down")
			if s.wanted.Paused != strings.Contains(name, "paused") || wantsUp && !s.wanted.Up || wantsDown && s.wanted.Up {
				t.Errorf("%s: %+v is wanted", name, s.wanted)
			}
		}
	}
}

func TestThePIDAndTheTimeOfDayStandWhereEachLayoutHasThem(t *testing.T) {
	for name, want := range map[string]status{ // both were read on 2026-11-22
		"running/runit-2.1.2-run": {running, 17565, "ok", WantedState{Up: true}, time.Unix(0x6b02f72b-10, 0x0f1123bc)},
		"running/s6-2.13.1.0-up":  {running, 0x4b9b, "control", WantedState{Up: true}, time.Unix(0x6b02f76d-37, 0x1bbc32a4)},
	} {
		if s, err := parseStatus(sample(t, name)); err != nil || s != want || s.stamp.Year() != 2026 {
			t.Errorf("%s: %+v, %v; want %+v", name, s, err, want)
		}
	}
}

// Versions of which no live sample is at hand, made from their sources: s6 2.14 and 2.15 write the 35 bytes of 2.12 again,
// and from 2.13.2 on a service that was never started has flag 1, which elsewhere means paused. runit 2.2 and 2.3
// write what 2.1.2 does.
func TestTheFlagsOfS6AreRead(t *testing.T) {
	up, never := sample(t, "running/s6-2.11.3.2-up"), sample(t, "down/s6-2.11.3.2-down-file-never-started")
	for _, c := range []struct {
		text   []byte
		flags  byte
		phase  phase
		wanted WantedState
	}{
		{up, 0x04, running, WantedState{Up: true}},
		{up, 0x0c, running, WantedState{Up: true}}, // ready
		{up, 0x05, running, WantedState{Up: true, Paused: true}},
		{up, 0x00, running, WantedState{}},
		{up, 0x06, finishing, WantedState{Up: true}},
		{up, 0x02, finishing, WantedState{}},
		{never, 0x00, down, WantedState{}},
		{never, 0x09, down, WantedState{}},
		{never, 0x0d, down, WantedState{Up: true}}, // before the first start
		{never, 0x0c, down, WantedState{Up: true}}, // between two starts
	} {
		text := append(slices.Clone(c.text[:s6Length-1]), c.flags)
		withGroup := slices.Concat(text[:32], text[24:32], text[32:]) // 2.13
		for _, text := range [][]byte{text, withGroup} {
			s, err := parseStatus(text)
			if err != nil || s.phase != c.phase || s.wanted != c.wanted || (s.pid == 0x4b47) != (c.phase != down) {
				t.Errorf("%d bytes, flags %#x: %+v, %v; want %+v", len(text), c.flags, s, err, c)
			}
			text[len(text)-1] |= 0x10
			_, err = parseStatus(text)
			checkError(t, "an unknown flag", err, "invalid supervise/status")
		}
	}
}

func TestAStatusOfAnyOtherFormIsRefused(t *testing.T) {
	for _, n := range []int{0, 18, 19, 21, 26, 34, 36, 42, 44} { // 18: daemontools; 26: s6 2.1
		_, err := parseStatus(make([]byte, n))
		checkError(t, n, err, "want 20 of runit, 35 or 43 of s6")
	}
	for at, value := range map[int]byte{0: 0, 1: 1, 8: 0xff, 15: 0xff, 16: 2, 18: 2, 19: 3} {
		text := slices.Clone(statusOfRunit)
		text[at] = value
		_, err := parseStatus(text)
		checkError(t, at, err, "invalid supervise/status")
	}
}

func FuzzStatus(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.status")
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
