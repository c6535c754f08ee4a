package proc

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const statTail = " 2718 -1 4194304 1 2 3 4 5 6 7 8 -20 -19 3 0 987654321 1 1"

func TestAStatLineIsReadWhateverTheNameHolds(t *testing.T) {
	for _, name := range []string{"sidekiq", "", "a b", "a) S 1 (b", ")", "(((", "\xff\n)", "1 (x) R 2 3"} {
		line := fmt.Sprintf("1234 (%s) S 1 1234 1233 0%s\n", name, strings.TrimPrefix(statTail, " 2718"))
		s, err := ParseStat([]byte(line))
		want := Stat{PID: 1234, State: 'S', PPID: 1, PGID: 1234, Session: 1233, Flags: 4194304, Threads: 3, Start: 987654321}
		if err != nil || s != want {
			t.Errorf("name %q: %+v, %v; want %+v", name, s, err, want)
		}
	}
}

func TestWhatIsNoStatLineIsRefused(t *testing.T) {
	for _, line := range []string{"", "\n", "0", "()", "1 ()", "1 () ", "x (a) S 1 2 3", "1 (a) S 1 2 3 4 5 6",
		"1 (a S 1 1 1 0" + statTail, "1 (a) S x 1 1 0" + statTail, "1 (a) S 1 -1 1 0" + statTail,
		"99999999999999999999 (a) S 1 1 1 0" + statTail} {
		if s, err := ParseStat([]byte(line)); err == nil {
			t.Errorf("%q: %+v", line, s)
		}
	}
}

func FuzzStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("1 (a) b) S 1 1 1 0" + statTail))
	f.Add([]byte("1 () Z 0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 3"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseStat(text)
		if err != nil {
			return
		}
		line := fmt.Sprintf("%d (x) %s %d %d %d 0 -1 %d 0 0 0 0 0 0 0 0 0 0 %d 0 %d", s.PID, []byte{s.State}, s.PPID, s.PGID, s.Session, s.Flags, s.Threads, s.Start)
		if again, err := ParseStat([]byte(line)); err != nil || again != s {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, s, line, again, err)
		}
	})
}

func TestAStatusIsReadWhateverTheNameHolds(t *testing.T) {
	const lines = "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nSigPnd:\t0000000000000100\nSigCgt:\t8000000000004000\n"
	s, err := parseStatus([]byte("Name:\tUid: 0 0\\nUid: 0 0\n" + lines))
	want := Status{UID: 1, EUID: 2, GID: 5, EGID: 6, Caught: 1<<63 | 1<<14, Pending: 1 << 8}
	if err != nil || s != want || !s.Catches(15) || !s.Catches(64) || s.Catches(14) || s.Catches(0) || s.Catches(65) {
		t.Errorf("%+v, %v; want %+v", s, err, want)
	}
	for line := range strings.Lines(lines) {
		if s, err := parseStatus([]byte(strings.Replace(lines, line, "", 1))); err == nil {
			t.Errorf("without %q: %+v", line, s)
		}
	}
}
