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

// Root becomes the user that SIDEKIQ_USER or the folder's owner names; what cannot be understood is never root.
func TestWhoSidekiqRunsAs(t *testing.T) {
	s := newSandbox(t)
	s.NeedRoot()
	s.Need("chpst")
	s.Mkdir("app", "nameless")
	s.Check(os.Chown(s.Path("nameless"), 12345, 12346))
	for _, c := range []struct{ app, user, want string }{
		{"app", "root", "pgid bundle exec sidekiq --timeout 25 --environment production\n"},
		{"app", "nobody", " chpst -u :65534:65534 "},
		{"app", "nobody:daemon", " chpst -u :65534:1 "},
		{"app", ":1000:1001:1002", " chpst -u :1000:1001:1002 "},
		{"nameless", "", " chpst -u :12345:12346 "},
		{"app", "", "not set"},
		{"app", "no-such-user", "invalid user"},
		{"app", "nobody:no-such-group", "invalid user"},
		{"app", "nobody:", "invalid user"},
		{"app", "::", "invalid user"},
		{"app", ":x:y", "invalid user"},
		{"app", ":1000", "invalid user"},
	} {
		code := 0
		if !strings.HasPrefix(c.want, " ") && !strings.HasPrefix(c.want, "pgid") {
			code = 100
		}
		r := s.Run("env", "SIDEKIQ_APP="+s.Path(c.app), "SIDEKIQ_USER="+c.user, "sidekiq-run", "-n")
		if out := r.Stdout + r.Stderr; r.Code != code || !strings.Contains(out, c.want) || code == 100 && !strings.Contains(out, "SIDEKIQ_USER: ") {
			s.Errorf("SIDEKIQ_USER=%s, %s: exit %d, %q, want %d, %q", c.user, c.app, r.Code, out, code, c.want)
		}
	}
}
