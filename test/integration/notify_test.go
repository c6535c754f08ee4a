package integration

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// restartedWith lets gracewatch restart a process that is over its limit at once, with that program as --notify.
func (s *sandbox) restartedWith(notify string, env ...string) (events *harness.Log) {
	s.Helper()
	p := s.Start(s.Command("sleep", "1000"))
	events = s.Watch(s.Command("env", append(env, "gracewatch", "-s", "1", "-g", "0", "-i", "100ms", "--notify", notify, p.ID(),
		"pgsignal", "-p", "{}", "TERM/120")...))
	events.Event("restart-done", 1)
	return events
}

// The examples of docs/metrics.md, as they are written there: a chat's webhook, mail, syslog.
func TestNotifyExamples(t *testing.T) {
	s := newSandbox(t)
	s.Need("curl")
	sent := s.Path("sent")
	chat := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		os.WriteFile(sent, text, 0o644)
	}))
	defer chat.Close()
	s.Script("bin/logger", `echo "$*" >>`+sent)
	s.Script("bin/mail", "cat >>"+sent)
	for example, want := range map[string]string{"notify-chat": `{"text": "`, "notify-mail": "", "notify-syslog": ""} {
		os.Remove(sent)
		file := s.Write(example, s.block("docs/metrics.md", example), 0o755)
		s.restartedWith(file, "CHAT_URL="+chat.URL, "PATH="+s.Path("bin")+":"+os.Getenv("PATH"))
		s.Eventually(example+" was run for restart-done", func() bool {
			return strings.HasPrefix(s.Read("sent"), want) && strings.Contains(s.Read("sent"), "restart-done")
		})
	}
}

// A program that hangs, fails or is removed never delays a restart.
func TestNotifyNeverDelaysARestart(t *testing.T) {
	s := newSandbox(t)
	events := s.restartedWith(s.Script("hangs", "exec sleep 1000\n"))
	if before, _, _ := strings.Cut(events.String(), "restart-done"); strings.Contains(before, "killed after") {
		s.Errorf("the restart has waited for the program that hangs:\n%s", events)
	}
	s.restartedWith(s.Script("fails", "exit 3\n"))
	s.restartedWith(s.Script("removed", "rm -f \"$0\"\n")) // after the first event there is none
	// It kills the program that hangs before it exits, and the sandbox sees whether anything is left.
	<-events.Done
}
