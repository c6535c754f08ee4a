package watch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/service"
)

// sampleAt reads a slot of a history file.
func sampleAt(t *testing.T, path string, at time.Time) HistorySample {
	text, err := os.ReadFile(path)
	if err != nil || len(text) != HistorySize || string(text[:len(HistoryMagic)]) != HistoryMagic {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	offset := HistoryOffset(at)
	s, _ := DecodeHistorySample([HistorySlot]byte(text[offset : offset+HistorySlot]))
	return s
}

func mustOpenHistory(t *testing.T, path string) *history {
	dir, name, err := service.OpenParent(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	h, err := openHistory(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.file.Close() })
	return h
}

func TestAHistoryIsKeptAndAForeignFileIsReplaced(t *testing.T) {
	at := time.Unix(1_795_000_020, 0)
	for name, text := range map[string]string{"new": "", "foreign": "something else", "truncated": HistoryMagic} {
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h := mustOpenHistory(t, path)
		sample := HistorySample{At: at, KB: 1000, SoftKB: 2000, HardKB: 3000, Mark: grace.Soft}
		later := sample
		later.At, later.Mark = at.Add(10*time.Second), "" // of the same minute: the mark stays
		next := mustOpenHistory(t, path)                  // of the next watcher
		if err := errors.Join(h.write(sample), next.write(later)); err != nil {
			t.Fatal(err)
		}
		want := sample
		want.At = at.Truncate(time.Minute)
		if got := sampleAt(t, path, at); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if got := sampleAt(t, path, at.Add(time.Minute)); got != (HistorySample{}) {
			t.Errorf("%s: in the next minute: %+v", name, got)
		}
	}
}

func TestTheFirstSampleIsNotThatOfNoProcess(t *testing.T) {
	w, cfg := newWorld(t, constant(1500)), config(t, 2000, 3000)
	path := filepath.Join(t.TempDir(), "history")
	w.history = func() (*history, error) { return mustOpenHistory(t, path), nil }
	watchFor(w, cfg, time.Millisecond)
	if s := sampleAt(t, path, w.Wall()); s.KB != 1500 || s.SoftKB != 2000 || s.HardKB != 3000 {
		t.Errorf("%+v", s)
	}
}

func TestAHistoryThatIsLostIsBegunAgain(t *testing.T) {
	w, cfg := newWorld(t, constant(1500)), config(t, 2000, 3000)
	path := filepath.Join(t.TempDir(), "history")
	refusal := errors.New("no space left on device")
	w.history = func() (*history, error) {
		if refusal != nil {
			return nil, refusal
		}
		return mustOpenHistory(t, path), nil
	}
	w.script = []event{at(130, func(*fakeWorld) { refusal = nil }), at(200, func(*fakeWorld) { os.Truncate(path, 0) })}
	j, _ := watchFor(w, cfg, 241*time.Second)
	if s := sampleAt(t, path, w.Wall()); s.KB != 1500 || j.watched() != "" || strings.Count(j.full.String(), "cannot keep the history: no space") != 1 {
		t.Errorf("%+v\n%s", s, j.full.String())
	}
}
