package integration

import (
	"gracekit/test/harness"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// restartedWith lets gracewatch restart a process that is over its limit at once, with that program as --notify.
func (s *sandbox) restartedWith(notify string, env ...string) (events *harness.Log) {
	s.Helper()
	p := s.Start(s.Command("sleep", "1000"))
	c := s.Command("gracewatch", "-s", "1", "-g", "0", "-i", "100ms", "--notify", notify, p.ID(), "pgsignal", "-p", "{}", "TERM/120")
	c.Env = append(c.Env, env...)
	return s.Watch(c)
}

// The examples of docs/metrics.md, as they are written there: a chat's webhook, mail, syslog.
func TestNotifyExamples(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.Need("curl")
	got := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got <- string(text)
	}))
	defer server.Close()
	s.Write("bin/logger", "#!/bin/sh\necho \"$*\" >>"+s.Path("sent")+"\n", 0o755)
	s.Write("bin/mail", "#!/bin/sh\n{ echo \"$*\"; cat; } >>"+s.Path("sent")+"\n", 0o755)
	path := "PATH=" + s.Path("bin") + ":" + os.Getenv("PATH")

	chat := s.Write("notify-chat", s.block("docs/metrics.md", "notify-chat"), 0o755)
	s.restartedWith(chat, "CHAT_URL="+server.URL).Event("restart-done", 1)
	for seen := ""; !strings.Contains(seen, "restart-begin") || !strings.Contains(seen, "restart-done"); {
		select {
		case text := <-got:
			seen += text
			if !strings.HasPrefix(text, `{"text": "`) {
				s.Fatalf("%q", text)
			}
		case <-time.After(harness.Patience):
			s.Fatalf("the chat got %q", seen)
		}
	}
	for _, example := range []string{"notify-mail", "notify-syslog"} {
		os.Remove(s.Path("sent"))
		file := s.Write(example, s.block("docs/metrics.md", example), 0o755)
		s.restartedWith(file, path).Event("restart-done", 1)
		s.Eventually(example+" was run for restart-done", func() bool {
			text, _ := os.ReadFile(s.Path("sent"))
			return strings.Contains(string(text), "restart-done")
		})
	}
}

// A program that hangs, fails or is removed never delays a restart.
func TestNotifyNeverDelaysARestart(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	hangs := s.Write("hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	events := s.restartedWith(hangs)
	events.Event("restart-done", 1)
	if before, _, _ := strings.Cut(events.String(), "restart-done"); strings.Contains(before, "killed after") {
		s.Errorf("the restart has waited for the program that hangs:\n%s", events)
	}
	s.restartedWith(s.Write("fails", "#!/bin/sh\nexit 3\n", 0o755)).Event("restart-done", 1)
	removed := s.Write("removed", "#!/bin/sh\nrm -f \"$0\"\n", 0o755) // after the first event there is none
	s.restartedWith(removed).Event("restart-done", 1)
	<-events.Done // it kills the program that hangs before it exits, and the sandbox sees whether anything is left
}
