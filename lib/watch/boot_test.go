package watch

import (
	"strings"
	"testing"
)

func TestWhatAWorkerShowsWhileItBootsIsNoted(t *testing.T) {
	for argv, want := range map[string]string{
		"ruby sidekiq -t 30":             "30",
		"ruby sidekiq --timeout 45":      "45",
		"ruby sidekiq --timeout=45 -c 5": "45",
		"ruby sidekiq -t30":              "30",
		"ruby sidekiq -c 5":              "",
		"ruby sidekiq -t":                "",
		"ruby sidekiq -tag":              "",
		"ruby sidekiq -t 30 -t 60":       "60",
	} {
		var n BootNotes
		n.noteArgv([]byte(strings.ReplaceAll(argv, " ", "\x00") + "\x00"))
		if n.Timeout != want {
			t.Errorf("%s: %q, want %q", argv, n.Timeout, want)
		}
	}
	var n BootNotes
	n.noteEnviron([]byte("PATH=/bin\x00SHUTDOWN_WAIT=5m\x00REDIS_URL=redis://:secret@x\x00MEMORY_KILLER_STOP_SIGNAL=QUIT\x00QUIET_SIGNAL=\x00SIDEKIQ_TIME"))
	if len(n.Environ) != 3 || n.Environ["SHUTDOWN_WAIT"] != "5m" || n.Environ["MEMORY_KILLER_STOP_SIGNAL"] != "QUIT" {
		t.Errorf("%v", n.Environ)
	}
	if value, ok := n.Environ["QUIET_SIGNAL"]; !ok || value != "" {
		t.Error("an empty quiet signal means none, and is not noted")
	}
}
