package integration

import (
	"os"
	"strings"
	"testing"
)

// A wrong setting is named, with its value, and nothing is started or signalled, also where the value is a command.
func TestWrongVariables(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	target := s.start(s.command("sleep", "1000"))
	for _, c := range []struct {
		prog, name, value string
		args              []string
	}{
		{"memory-killer", "SIDEKIQ_MEMORY_KILLER_MAX_RSS", "$(touch pwned)", []string{"-t", target.id()}},
		{"memory-killer", "SIDEKIQ_MEMORY_KILLER_MAX_RSS", "1; touch pwned", []string{"touch", "started"}},
		{"memory-killer", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME", "15 minutes", []string{"-1", target.id()}},
		{"graceful-restart", "SHUTDOWN_WAIT", "long", []string{target.id()}},
		{"graceful-restart", "SIDEKIQ_TIMEOUT", "a[$(touch pwned)]", []string{target.id()}},
	} {
		cmd := s.command(c.prog, c.args...)
		cmd.Dir = s.dir
		cmd.Env = append(cmd.Env, "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0", c.name+"="+c.value)
		r := s.runCommand(cmd)
		if r.code != 100 || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, c.name) || !strings.Contains(r.stderr, `"`+c.value+`"`) {
			s.Errorf("%s %v: exit %d, want 100 and one line that names %s and %q\nstdout: %sstderr: %s", c.prog, c.args, r.code, c.name, c.value, r.stdout, r.stderr)
		}
		s.onlyRuns(target.process)
		for _, file := range []string{"started", "pwned"} {
			if _, err := os.Stat(s.path(file)); err == nil {
				s.Errorf("%s: %s was made", c.prog, file)
			}
		}
	}
}

// A wrong flag, size, duration, schedule or target of a program: one line that names it, and nothing happens.
func TestWrongArguments(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	target := s.start(s.command("sleep", "1000"))
	id := target.id()
	started := []string{"touch", s.path("started")}

	for _, c := range []struct {
		code  int
		names string // what the message must hold
		args  []string
	}{
		{100, "2Q", append([]string{"gracewatch", "--soft", "2Q", id}, started...)},
		{100, "-5", append([]string{"gracewatch", "--soft=-5", id}, started...)},
		{100, "120%", append([]string{"gracewatch", "--soft", "120%", id}, started...)},
		{100, "much", append([]string{"gracewatch", "--hard", "much", id}, started...)},
		{100, "soon", append([]string{"gracewatch", "-s", "1", "--grace", "soon", id}, started...)},
		{100, "3 s", append([]string{"gracewatch", "-s", "1", "--interval", "3 s", id}, started...)},
		{100, "vsz", append([]string{"gracewatch", "-s", "1", "--measure", "vsz", id}, started...)},
		{100, "world", append([]string{"gracewatch", "-s", "1", "--scope", "world", id}, started...)},
		{100, "xml", append([]string{"gracewatch", "-s", "1", "--log-format", "xml", id}, started...)},
		{100, "usage", []string{"gracewatch", "-s", "1"}},
		{111, "12x", append([]string{"gracewatch", "-s", "1", "-g", "0", "12x"}, started...)},
		{100, "NOSUCH", []string{"pgsignal", id, "NOSUCH/5/KILL"}},
		{100, "0", []string{"pgsignal", id, "0"}},
		{100, "65", []string{"pgsignal", id, "65"}},
		{100, "TERM//KILL", []string{"pgsignal", id, "TERM//KILL"}},
		{100, "world", []string{"pgsignal", id, "TERM@world"}},
		{100, "soon", []string{"pgsignal", id, "TERM/soon/KILL"}},
		{100, "usage", []string{"pgsignal", id}},
		{100, "usage", []string{"svpid"}},
		{100, "--nosuch", []string{"svpid", "--nosuch", id}},
		{100, "vsz", []string{"rssprobe", "-o", "vsz", id}},
		{100, "world", []string{"rssprobe", "-S", "world", id}},
		{100, "2Q", []string{"rssprobe", "-l", "2Q", id}},
		{100, "usage", []string{"rssprobe"}},
		{100, "soon", []string{"sidekiq-idle", "-w", "soon", id}},
		{100, "usage", []string{"sidekiq-idle"}},
		{100, "usage", []string{"pgexec", "-f", s.path("started")}},
		{127, "nosuchprogram", []string{"pgexec", "nosuchprogram"}},
		{126, "/dev/null", []string{"pgexec", "/dev/null"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			s := &sandbox{T: t, dir: s.dir, mark: s.mark}
			r := s.wants(c.code, c.args[0], c.args[1:]...)
			if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, c.names) ||
				!strings.HasPrefix(r.stderr, c.args[0]+": ") {
				s.Errorf("want one line %q that names %s\nstdout: %sstderr: %s", c.args[0]+": ...", c.names, r.stdout, r.stderr)
			}
			s.onlyRuns(target.process)
			if _, err := os.Stat(s.path("started")); err == nil {
				s.Error("something was started")
				os.Remove(s.path("started"))
			}
		})
	}
}

// onlyRuns: nothing was started, and what was there was not signalled.
func (s *sandbox) onlyRuns(p process) {
	s.Helper()
	if !p.alive() {
		s.Fatal("the target was signalled")
	}
	for _, other := range processesWith(s.mark, nil) {
		if other.id() != p.id() {
			s.Errorf("was started: %v", other)
		}
	}
}
