package integration

import (
	"gracekit/test/harness"
	"os"
	"regexp"
	"strings"
	"testing"
)

// block is the first block of code in a README that has a word, without its indentation or fence.
func (s *sandbox) block(file, word string) string {
	s.Helper()
	text, err := os.ReadFile(repo + "/" + file)
	s.Check(err)
	for _, m := range regexp.MustCompile("(?s)```\\w*\n(.*?)```|((?:\n    [^\n]*)+)").FindAllStringSubmatch(string(text), -1) {
		if code := m[1] + strings.ReplaceAll(m[2], "\n    ", "\n"); strings.Contains(code, word) {
			return code
		}
	}
	s.Fatalf("%s: no block of code with %q", file, word)
	return ""
}

// mine is a service without any script of ours, whose process is over any limit of a few KB.
const mine = "#!/bin/sh\nexec sleep 1000\n"

// As in docs/setup/runit.md: the killer added to a service that is there already, whose directory stays as it was.
func TestKillerBesideAServiceOfRunit(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.Need("chpst")
	s.Write("sv/worker/run", mine, 0o755)
	s.Mkdir("service")
	s.Link(s.Path("sv/worker"), "service/worker")
	before := s.Wants(0, "find", s.Path("sv/worker"), "-ls").Stdout
	code := strings.NewReplacer("/usr/local/share/gracekit", harness.Repo(), "/etc/sv", s.Path("sv"),
		"/etc/service", s.Path("service")).Replace(s.block("docs/setup/runit.md", "worker-memory-killer"))
	if r := s.Run("sh", "-ec", code); r.Code != 0 {
		s.Fatalf("exit %d: %s", r.Code, r.Stderr)
	}
	if after := s.Wants(0, "find", s.Path("sv/worker"), "-ls").Stdout; after != before {
		s.Errorf("changed:\n%s\nwant:\n%s", after, before)
	}
	killer := s.Path("sv/worker-memory-killer")
	s.LogsTo(killer)
	s.Conf(killer, map[string]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME": "0", "QUIET_SIGNAL": ""})
	v := s.Runsv(s.Path("sv/worker"))
	s.Runsv(killer, "SVDIR="+s.Path("service"))
	v.Running(v.Running())
	if !v.Alive() {
		s.Error("runsv was signalled: the service leads no group, and is in runsv's")
	}
}

// As in docs/setup/s6-overlay.md: the same in an image of s6-overlay, wherever that has its user bundle.
func TestKillerBesideAServiceOfAnImage(t *testing.T) {
	s, k := inContainer(t)
	old := "s6-rc.d/user"
	s.Write("etc/"+old+"/contents.d/svc-worker", "", 0o644)
	s.Write("etc/s6-rc.d/svc-worker/run", mine, 0o755)
	docker := s.block("docs/setup/s6-overlay.md", "svc-worker")
	run := regexp.MustCompile(`(?m)^RUN ((?:.*\\\n)*.*)$`).FindStringSubmatch(docker)
	env := regexp.MustCompile(`(?m)^ENV (.*)$`).FindStringSubmatch(docker)
	if run == nil || env == nil {
		s.Fatalf("no RUN or ENV: %s", docker)
	}
	code := strings.NewReplacer("/usr/share/gracekit", harness.Repo(), "/etc/s6-overlay/s6-rc.d &&", s.Path("etc/s6-rc.d")+" &&").Replace(run[1])
	s.Must("sh", "-ec", code)
	for _, file := range []string{old + "/contents.d/svc-worker", old + "/contents.d/svc-sidekiq-memory-killer", "s6-rc.d/svc-sidekiq-memory-killer/run",
		"s6-rc.d/svc-sidekiq-memory-killer/dependencies.d/base", "s6-rc.d/svc-sidekiq-memory-killer/dependencies.d/svc-worker"} {
		if _, err := os.Stat(s.Path("etc", file)); err != nil {
			s.Error(err)
		}
	}
	if _, err := os.Stat(s.Path("etc/s6-rc.d/svc-sidekiq-memory-killer/dependencies.d/svc-sidekiq")); err == nil {
		s.Error("it depends on what is not there")
	}
	for setting := range strings.FieldsSeq(env[1]) {
		name, value, _ := strings.Cut(setting, "=")
		k.sets(map[string]string{name: strings.Replace(value, "/run/service", s.Path("service"), 1)})
	}
	k.sets(map[string]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME": "0", "QUIET_SIGNAL": ""})
	k.interprets(s.Path("etc/s6-rc.d"))
	scan := k.starts(s.Path("etc/s6-rc.d/svc-worker"), s.Path("etc/s6-rc.d/svc-sidekiq-memory-killer"))
	v := scan.Service("svc-worker")
	v.Running(v.Running())
}
