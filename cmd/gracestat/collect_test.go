package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAStateFileOfAnotherVersionIsNotInterpreted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "supervise"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "supervise/gracewatch"), []byte(`{"version": 2, "paused": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newCollector([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	s := c.collect()[0]
	if s.Snapshot != nil || !strings.Contains(s.Missing, "version 2 (want 1)") {
		t.Errorf("%+v, %q", s.Snapshot, s.Missing)
	}
}
