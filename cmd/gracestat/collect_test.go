package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gracekit/lib/proc"
	"gracekit/lib/service"
)

func TestAStateFileOfAnotherVersionIsNotInterpreted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "supervise"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "supervise/gracewatch"), []byte(`{"version": 2, "paused": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := service.Parse(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newCollector()
	defer c.close()
	var s Service
	c.readSnapshot(target{Target: parsed, name: "a"}, &s)
	if s.Snapshot != nil || !strings.Contains(s.Missing, "version 2 (want 1)") {
		t.Errorf("%+v, %q", s.Snapshot, s.Missing)
	}
}

// Under systemd and in containers the watcher is beside its process: its arguments say where its state is.
func TestTheWatcherBesideAProcess(t *testing.T) {
	c := newCollector()
	defer c.close()
	pid := fmt.Sprint(os.Getpid())
	parsed, err := service.Parse(pid)
	if err != nil {
		t.Fatal(err)
	}
	collect := func() Service { return c.collect([]target{{parsed, pid, true}})[0] }
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if s := collect(); s.State != Unwatched || s.Missing != "" {
		t.Errorf("nothing watches it: %s, %q", s.State, s.Missing)
	}
	for _, c := range []struct {
		state string
		want  State
		why   string
	}{
		{"", Unwatched, "keeps no state"},
		{"{", Unwatched, "is damaged"},
		{`{"version": 1, "boot": %q, "watcher": %q, "instances": [{"id": %q, "soft_kb": 4096, "phase": "ok"}]}`, OK, ""},
	} {
		file := filepath.Join(t.TempDir(), "state")
		args := []string{"gracewatch", "-c", "read line", "--state", file, self.ID.String()}
		if c.state == "" {
			args = append(args[:3], self.ID.String())
		}
		watcher := exec.Command("/bin/sh")
		watcher.Args = args
		stdin, err := watcher.StdinPipe()
		if err == nil {
			err = watcher.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		w, err := proc.Open(watcher.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		boot, _ := proc.Boot()
		text := c.state
		if strings.Contains(text, "%q") {
			text = fmt.Sprintf(text, boot, w.ID.String(), self.ID.String())
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := collect()
		if s.State != c.want || !strings.Contains(s.Missing, c.why) || c.why == "" && s.Missing != "" {
			t.Errorf("%s: %s, %q", c.state, s.State, s.Missing)
		}
		if c.want == OK && (s.Watcher != w.ID || s.Workers[0].SoftKB != 4096) {
			t.Errorf("watched by %v, %+v", s.Watcher, s.Workers)
		}
		w.Close()
		stdin.Close()
		watcher.Wait()
	}
}
