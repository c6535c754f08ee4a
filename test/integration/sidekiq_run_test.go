package integration

import (
	"os"
	"strings"
	"testing"
)

// sidekiq-run completes the command, and names the FIFO of the job hook after the service, as memory-killer does
// (legacy.txtar), and not after the app.
func TestWhatSidekiqRunBecomes(t *testing.T) {
	s := newSandbox(t)
	command := s.Script("command", `echo "$MEMORY_KILLER_CONTROL $*"`)
	s.Mkdir("web/supervise", "app")
	for given, want := range map[string]string{"": "--timeout 25 --environment production", " -e staging": "-e staging --timeout 25"} {
		r := s.Wants(0, "env", "-C", s.Path("web"), "SIDEKIQ_APP="+s.Path("app"), "SIDEKIQ_USER=root", "SIDEKIQ_COMMAND="+command+given, "sidekiq-run")
		if want = "/run/gracekit/web.control " + want + "\n"; r.Stdout != want {
			s.Errorf("%q, want %q", r.Stdout, want)
		}
	}
}

// Root becomes the user that SIDEKIQ_USER or the folder's owner names; what cannot be understood is never root. A program
// that is not there is 127 for that user too.
func TestWhoSidekiqRunsAs(t *testing.T) {
	s := newSandbox(t)
	s.NeedRoot()
	s.Need("chpst")
	s.Mkdir("app", "nameless")
	s.Check(os.Chown(s.Path("nameless"), 12345, 12346))
	s.Wants(127, "env", "SIDEKIQ_APP="+s.Path("app"), "SIDEKIQ_USER=nobody", "SIDEKIQ_COMMAND=/no/such/program", "sidekiq-run")
	for _, c := range []struct {
		app, user string
		code      int
		want      string
	}{
		{"app", "root", 0, "pgid bundle exec sidekiq --timeout 25 --environment production\n"},
		{"app", "nobody", 0, " chpst -u :65534:65534 "},
		{"app", "nobody:daemon", 0, " chpst -u :65534:1 "},
		{"app", ":1000:1001:1002", 0, " chpst -u :1000:1001:1002 "},
		{"nameless", "", 0, " chpst -u :12345:12346 "},
		{"app", "", 100, "SIDEKIQ_USER: not set"},
		{"app", "no-such-user", 100, "SIDEKIQ_USER: invalid user"},
		{"app", "nobody:no-such-group", 100, "SIDEKIQ_USER: invalid user"},
		{"app", "nobody:", 100, "SIDEKIQ_USER: invalid user"},
		{"app", "::", 100, "SIDEKIQ_USER: invalid user"},
		{"app", ":x:y", 100, "SIDEKIQ_USER: invalid user"},
		{"app", ":1000", 100, "SIDEKIQ_USER: invalid user"},
	} {
		r := s.Wants(c.code, "env", "SIDEKIQ_APP="+s.Path(c.app), "SIDEKIQ_USER="+c.user, "sidekiq-run", "-n")
		if out := r.Stdout + r.Stderr; !strings.Contains(out, c.want) {
			s.Errorf("SIDEKIQ_USER=%s, %s: %q, want %q", c.user, c.app, out, c.want)
		}
	}
}
