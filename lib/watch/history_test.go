package watch

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gracekit/lib/grace"
)

func openHistoryFile(t *testing.T, path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sampleAt reads a slot of a history file.
func sampleAt(t *testing.T, path string, at time.Time) (HistorySample, bool) {
	text, err := os.ReadFile(path)
	if err != nil || len(text) != HistorySize || string(text[:len(HistoryMagic)]) != HistoryMagic {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	offset := HistoryOffset(at)
	return DecodeHistorySample([HistorySlot]byte(text[offset : offset+HistorySlot]))
}

func TestAHistoryIsKeptAndAForeignFileIsReplaced(t *testing.T) {
	at := time.Unix(1_795_000_020, 0)
	for name, text := range map[string]string{"new": "", "foreign": "something else", "truncated": HistoryMagic} {
		path := filepath.Join(t.TempDir(), "history")
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h, err := newHistory(openHistoryFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		want := HistorySample{At: at.Truncate(time.Minute), KB: 1000, SoftKB: 2000, HardKB: 3000, Mark: grace.Soft}
		for _, s := range []HistorySample{{At: at, KB: 1000, SoftKB: 2000, HardKB: 3000, Mark: grace.Soft},
			{At: at.Add(10 * time.Second), KB: 1000, SoftKB: 2000, HardKB: 3000}} { // of the same minute: the mark stays
			if err := h.write(s); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := sampleAt(t, path, at); !ok || got.KB != want.KB || got.SoftKB != want.SoftKB || got.HardKB != want.HardKB || got.Mark != want.Mark || !got.At.Equal(want.At) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		if _, ok := sampleAt(t, path, at.Add(time.Minute)); ok {
			t.Errorf("%s: there is a sample in the next minute", name)
		}
		if _, err := newHistory(openHistoryFile(t, path)); err != nil { // the next watcher
			t.Fatal(err)
		}
		if _, ok := sampleAt(t, path, at); !ok {
			t.Errorf("%s: the next watcher replaced it", name)
		}
	}
}

func TestTheFirstSampleIsNotThatOfNoProcess(t *testing.T) {
	w := newWorld(t, constant(1500))
	cfg := config(t, 2000, 3000)
	cfg.Messages = &journal{w: w}
	cfg.Log = slog.New(slog.DiscardHandler)
	l := newLoop(&cfg, w)
	defer l.close()
	if err := l.start(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "history")
	h, err := newHistory(openHistoryFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	l.history = h
	l.sampleHistory(w.Now())
	if s, ok := sampleAt(t, path, w.Wall()); !ok || s.KB != 1500 || s.SoftKB != 2000 || s.HardKB != 3000 {
		t.Errorf("%+v, %v", s, ok)
	}
}
