package integration

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// The main job in a container of s6-overlay: each GitLab name counts as it is given to docker run -e, the leaking Sidekiq
// is restarted gracefully, and no job is lost.
func TestOverlaySidekiqLosesNoJob(t *testing.T) {
	s, k := inContainer(t)
	j := s.jobs()
	k.sets(j.conf())
	k.sets(quickWatch)
	k.sets(map[string]string{
		"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS": "1000000",
		"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT":  "29",
		"MEMORY_KILLER_TARGET":                 s.Path("service/svc-sidekiq"), // it is /run/service/svc-sidekiq
	})
	scan := k.starts(k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer"))
	sidekiq := scan.Service("svc-sidekiq")
	watching := scan.Event("watching", 1)
	for field, want := range map[string]string{"soft_kb": softKB, "hard_kb": "1000000", "grace_s": "1", "interval_s": "1"} {
		if watching.Fields[field] != want {
			s.Errorf("%s is %q, want %q: %s", field, watching.Fields[field], want, watching.Line)
		}
	}
	j.leak(0.1, func() bool { return scan.Count("restart-done") >= 2 })
	scan.Line("graceful-restart.*got TSTP: waiting up to 29s", 1)
	scan.Line("graceful-restart.*got TERM: waiting up to 6s", 1) // SIDEKIQ_TIMEOUT is 3
	p := sidekiq.Running()
	s.boots(p)
	_, health, _ := strings.Cut(s.block("docs/setup/s6-overlay.md", "HEALTHCHECK"), " CMD ")
	health = strings.ReplaceAll(health, "svc-sidekiq", scan.Dir+"/svc-sidekiq")
	s.Wants(0, "sh", "-c", health)
	s.Wants(1, "sh", "-c", strings.Replace(health, "-l 3G ", "-l 1M ", 1))
	sidekiq.Control("-d")
	sidekiq.Await("-D")
	s.haveEnded(p)
	s.Wants(1, "sh", "-c", health)
}

// A service whose settings are wrong logs that in one line, and stays down: a container's environment does not change by
// itself. The killer does the same.
func TestOverlayWrongSetting(t *testing.T) {
	s, k := inContainer(t)
	k.standIn("exec sleep 1000\n")
	good := map[string]string{"SIDEKIQ_TIMEOUT": "5", "SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1000000"}
	k.sets(good)
	scan := k.starts(k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer"))
	s.sleepers(1)
	scan.Line("msg=watching", 1) // both have read what is good
	for _, c := range []struct{ service, name, value, line string }{
		{"svc-sidekiq", "SIDEKIQ_TIMEOUT", "soon", "sidekiq-run: fatal: SIDEKIQ_TIMEOUT.*soon"},
		{"svc-sidekiq-memory-killer", "SIDEKIQ_MEMORY_KILLER_MAX_RSS", "2Q", "memory-killer: fatal: SIDEKIQ_MEMORY_KILLER_MAX_RSS.*2Q"},
	} {
		v := scan.Service(c.service)
		k.sets(map[string]string{c.name: c.value})
		v.Control("-r") // it is started again, with another environment
		scan.Line(c.line, 1)
		s.Eventually(v.Dir+" is left down", func() bool { // root's s6-svwait gets no events of another user's service
			return slices.Equal(v.Stat("up,wantedup,normallyup"), []string{"false", "false", "true"})
		})
		scan.WantLines(c.line, 1)
		k.sets(good)
		v.Control("-u")
		v.Running()
	}
}

// s6 ends a service that does not go down, in the time that SIDEKIQ_TIMEOUT needs and no sooner.
func TestTimeoutKillFollowsSidekiqTimeout(t *testing.T) {
	s, k := inContainer(t)
	k.standIn("trap '' TERM\necho ready >ready\nwhile :; do sleep 0.1; done\n")
	k.sets(map[string]string{"SIDEKIQ_TIMEOUT": "300"})
	dir := k.overlay("svc-sidekiq")
	if harness.FirstLine(dir+"/timeout-kill") != "60000" {
		s.Errorf("timeout-kill is %q as shipped, want 60000 for 25 s", harness.FirstLine(dir+"/timeout-kill"))
	}
	scan := k.starts(dir)
	v := scan.Service("svc-sidekiq")
	ready := func() bool { return os.Remove(s.Path("ready")) == nil }
	s.Eventually("ready", ready)
	if harness.FirstLine(dir+"/timeout-kill") != "610000" {
		s.Errorf("timeout-kill is %q, want 610000 for 300 s", harness.FirstLine(dir+"/timeout-kill"))
	}
	k.sets(map[string]string{"SIDEKIQ_TIMEOUT": "1"})
	v.Running().Kill()
	s.Eventually("ready", ready)
	p := v.Running()
	v.Control("-d")
	v.Await("-D")
	s.haveEnded(p)
	if stat := v.Stat("exitcode,signal"); len(stat) != 2 || stat[1] != "SIGKILL" {
		s.Errorf("ended by %v, want SIGKILL", stat)
	}
}

// An image whose USER is not root: all of it is that user's, from /init on, and nothing of ours needs root.
func TestOverlayAsAnOrdinaryUser(t *testing.T) {
	s, k := inContainer(t)
	s.NeedRoot()
	k.standIn("sleep 1000 &\nexec sleep 1000\n")
	k.sets(tooSmall)
	k.sets(map[string]string{"SIDEKIQ_TIMEOUT": "6"})
	dirs := []string{k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer")}
	s.Mkdir("service")
	s.Must("chown", "-R", "nobody", s.Dir)
	svscan, err := exec.LookPath("s6-svscan") // not in the scripts' PATH
	s.Check(err)
	scan := s.Svscan([]string{"s6-setuidgid", "nobody", svscan}, dirs...)
	v := scan.Service("svc-sidekiq")
	first := v.Running()
	v.Running(first)
	scan.Line("msg=restart-done .*"+first.ID(), 1)
	if left := harness.Group(first.PID); len(left) != 0 {
		s.Errorf("left of the first: %v", left)
	}
	s.Eventually("timeout-kill is written", func() bool { return harness.FirstLine(dirs[0]+"/timeout-kill") == "22000" })
	scan.WantLines("msg=restart-failed", 0)
}
