package integration

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// restartedWith lets gracewatch restart a process that is over its limit at once, with that program as --notify.
func (s *sandbox) restartedWith(notify string, env ...string) (events *gracewatch) {
	s.Helper()
	p := s.start(s.command("sleep", "1000"))
	c := s.command("gracewatch", "-s", "1", "-g", "0", "-i", "100ms", "--notify", notify, p.id(), "pgsignal", "-p", "{}", "TERM/20")
	c.Env = append(c.Env, env...)
	return s.watchedBy(c)
}

// The examples of docs/metrics.md, as they are written there: a chat's webhook, mail, syslog.
func TestNotifyExamples(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.need("curl")
	got := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got <- string(text)
	}))
	defer server.Close()
	s.write("bin/logger", "#!/bin/sh\necho \"$*\" >>"+s.path("said")+"\n", 0o755)
	s.write("bin/mail", "#!/bin/sh\n{ echo \"$*\"; cat; } >>"+s.path("said")+"\n", 0o755)
	path := "PATH=" + s.path("bin") + ":" + os.Getenv("PATH")

	chat := s.write("notify-chat", s.block("docs/metrics.md", "notify-chat"), 0o755)
	s.restartedWith(chat, "CHAT_URL="+server.URL).event("restart-done", 1)
	for seen := ""; !strings.Contains(seen, "restart-begin") || !strings.Contains(seen, "restart-done"); {
		select {
		case text := <-got:
			seen += text
			if !strings.HasPrefix(text, `{"text": "`) {
				s.Fatalf("%q", text)
			}
		case <-time.After(time.Minute):
			s.Fatalf("the chat got %q", seen)
		}
	}
	for _, example := range []string{"notify-mail", "notify-syslog"} {
		os.Remove(s.path("said"))
		file := s.write(example, s.block("docs/metrics.md", example), 0o755)
		s.restartedWith(file, path).event("restart-done", 1)
		s.waitFor(example+" was run for restart-done", func() bool {
			text, _ := os.ReadFile(s.path("said"))
			return strings.Contains(string(text), "restart-done")
		})
	}
}

// A program that hangs, fails or has gone never delays a restart.
func TestNotifyNeverDelaysARestart(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	hangs := s.write("hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	events := s.restartedWith(hangs)
	events.event("restart-done", 1)
	s.restartedWith(s.write("fails", "#!/bin/sh\nexit 3\n", 0o755)).event("restart-done", 1)
	gone := s.write("gone", "#!/bin/sh\nrm -f \"$0\"\n", 0o755) // after the first event there is none
	s.restartedWith(gone).event("restart-done", 1)
	begin, done := events.event("restart-begin", 1), events.event("restart-done", 1)
	if took := done.at.Sub(begin.at); took > 9*time.Second { // a program that hangs is killed after 10 s
		s.Errorf("the restart took %v beside a program that hangs", took)
	}
	<-events.gone // it kills the program that hangs before it exits, and the sandbox sees whether anything is left
}
