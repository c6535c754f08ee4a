package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
)

// A FIFO on which no command comes is told of once, and not at all if one has come.
func TestSilentControl(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	for name, c := range map[string]struct {
		patience time.Duration
		interval string
		command  string
		told     int
	}{
		"no command":                   {0, "0", "", 1},
		"not yet":                      {time.Hour, "0", "", 0},
		"a command":                    {0, "0", "c", 0},
		"checks that come by interval": {0, "3", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			patience = c.patience
			var stderr bytes.Buffer
			o := options{control: filepath.Join(t.TempDir(), "control"), controlGID: -1}
			if err := o.interval.Set(c.interval); err != nil {
				t.Fatal(err)
			}
			w := newWatch(o, cli.New("gracewatch", usage, io.Discard, &stderr), newLog(io.Discard, o), -1)
			var err error
			if w.control, err = openControl(o); err != nil {
				t.Fatal(err)
			}
			defer w.close()
			if c.command != "" {
				if err := os.WriteFile(o.control, []byte(c.command), 0); err != nil {
					t.Fatal(err)
				}
				w.obey()
			}
			w.silent(proc.Now())
			w.silent(proc.Now())
			if n := strings.Count(stderr.String(), "is the job hook loaded?"); n != c.told || strings.Count(stderr.String(), "\n") != n {
				t.Errorf("told %d times, want %d: %q", n, c.told, stderr.String())
			}
		})
	}
}
