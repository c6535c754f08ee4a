package integration

import (
	"regexp"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// The killer is added to a service of the user's own, which has no script of ours, and whose process is over any limit of a
// few KB.
const ownService = "exec sleep 1000\n"

var tooSmall = map[string]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME": "0", "QUIET_SIGNAL": ""}

// As in docs/setup/runit.md: the killer added to a service that is there already, whose directory stays as it was.
func TestKillerBesideAServiceOfRunit(t *testing.T) {
	s := newSandbox(t)
	s.Need("chpst")
	s.Script("sv/worker/run", ownService)
	s.Mkdir("service")
	s.Link(s.Path("sv/worker"), "service/worker")
	before := s.Wants(0, "find", s.Path("sv/worker"), "-ls").Stdout
	s.Wants(0, "sh", "-ec", strings.NewReplacer("/usr/local/share/gracekit", harness.Repo(), "/etc/sv", s.Path("sv"),
		"/etc/service", s.Path("service")).Replace(s.block("docs/setup/runit.md", "worker-memory-killer")))
	if after := s.Wants(0, "find", s.Path("sv/worker"), "-ls").Stdout; after != before {
		s.Errorf("changed:\n%s\nwant:\n%s", after, before)
	}
	killer := s.Path("sv/worker-memory-killer")
	s.LogsTo(killer)
	s.Conf(killer, tooSmall)
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
	s.Write("etc/s6-rc.d/user/contents.d/svc-worker", "", 0o644)
	s.Script("etc/s6-rc.d/svc-worker/run", ownService)
	docker := s.block("docs/setup/s6-overlay.md", "svc-worker")
	run := regexp.MustCompile(`(?m)^RUN ((?:.*\\\n)*.*)$`).FindStringSubmatch(docker)
	env := regexp.MustCompile(`(?m)^ENV (.*)$`).FindStringSubmatch(docker)
	if run == nil || env == nil {
		s.Fatalf("no RUN or ENV: %s", docker)
	}
	s.Must("sh", "-ec", strings.NewReplacer("/usr/share/gracekit", harness.Repo(),
		"/etc/s6-overlay/s6-rc.d &&", s.Path("etc/s6-rc.d")+" &&").Replace(run[1]))
	const killer = "etc/s6-rc.d/svc-sidekiq-memory-killer"
	for file, want := range map[string]bool{
		"etc/s6-rc.d/user/contents.d/svc-worker":                true,
		"etc/s6-rc.d/user/contents.d/svc-sidekiq-memory-killer": true,
		killer + "/run":                        true,
		killer + "/dependencies.d/base":        true,
		killer + "/dependencies.d/svc-worker":  true,
		killer + "/dependencies.d/svc-sidekiq": false, // which is not there
	} {
		if s.Exists(file) != want {
			s.Errorf("%s exists: %v, want %v", file, !want, want)
		}
	}
	for setting := range strings.FieldsSeq(env[1]) {
		name, value, _ := strings.Cut(setting, "=")
		k.sets(map[string]string{name: strings.Replace(value, "/run/service", s.Path("service"), 1)})
	}
	k.sets(tooSmall)
	k.interprets(s.Path("etc/s6-rc.d"))
	v := k.starts(s.Path("etc/s6-rc.d/svc-worker"), s.Path(killer)).Service("svc-worker")
	v.Running(v.Running())
}
