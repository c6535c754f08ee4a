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

func FuzzStatus(f *testing.F) {
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("Name:\tUid: 0 0\nUid:\t5\t6\nGid:\t7\t8\nSigCgt:\t00000000000004000\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStatus(text)
		if err == nil && (s.Catches(0) || s.Catches(65)) {
			t.Errorf("%q catches what is no signal", text)
		}
	})
}
