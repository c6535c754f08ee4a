package integration

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The main job in a container of s6-overlay: each GitLab name counts as it is given to docker run -e, the leaking Sidekiq
// is restarted gracefully, and no job is lost.
func TestOverlaySidekiqLosesNoJob(t *testing.T) {
	s, k := inContainer(t)
	s.need("sidekiq")
	redis, jobs := s.redis(), ledger{s, s.path("ledger")}
	k.sets(sidekiqConf(s, redis, jobs))
	k.sets(quickWatch)
	k.sets(map[string]string{
		"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS": "1000000",
		"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT":  "29",
		"MEMORY_KILLER_TARGET":                 s.path("service/svc-sidekiq"), // it is /run/service/svc-sidekiq
	})
	scan := k.starts(k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer"))
	sidekiq := scan.service("svc-sidekiq")
	events := s.eventsIn(scan.out)
	watching := events.event("watching", 1)
	for field, want := range map[string]string{"soft_kb": softKB, "hard_kb": "1000000", "grace_s": "1", "interval_s": "1"} {
		if watching.fields[field] != want {
			s.Errorf("%s is %q, want %q: %s", field, watching.fields[field], want, watching.line)
		}
	}
	jobs.leaks(redis, 0.1, func() bool { return events.count("restart-done") >= 2 })
	scan.says("graceful-restart", "got TSTP: waiting up to 29s")
	scan.says("graceful-restart", "got TERM: waiting up to 6s") // SIDEKIQ_TIMEOUT is 3
	p := sidekiq.running()
	s.waitFor("Sidekiq has booted", func() bool { return booted(p) })
	health := strings.ReplaceAll(s.healthcheck(), "svc-sidekiq", scan.dir+"/svc-sidekiq")
	s.wants(0, "sh", "-c", health)
	s.wants(1, "sh", "-c", strings.Replace(health, "-l 3G", "-l 1M", 1))
	sidekiq.control("-d")
	sidekiq.waits("-D")
	if p.alive() {
		s.Error("down, and still there")
	}
	s.wants(1, "sh", "-c", health)
}

// healthcheck is the command of the page for images.
func (s *sandbox) healthcheck() string {
	s.Helper()
	text, err := os.ReadFile(repo + "/docs/setup/s6-overlay.md")
	m := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD (.*)$`).FindSubmatch(text)
	if err != nil || m == nil || !strings.Contains(string(m[1]), "-l 3G ") {
		s.Fatalf("no HEALTHCHECK: %v", err)
	}
	return string(m[1])
}

// A service whose settings are wrong says so in one line, and stays down: a container's environment does not change by
// itself. The killer does the same.
func TestOverlayWrongSetting(t *testing.T) {
	s, k := inContainer(t)
	good := map[string]string{"SIDEKIQ_APP": s.dir, "SIDEKIQ_USER": "root", "SIDEKIQ_TIMEOUT": "5", "SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1000000",
		"SIDEKIQ_COMMAND":      k.program("exec sleep 1000\n"),
		"MEMORY_KILLER_TARGET": s.path("service/svc-sidekiq")}
	k.sets(good)
	scan := k.starts(k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer"))
	sidekiq, killer := scan.service("svc-sidekiq"), scan.service("svc-sidekiq-memory-killer")
	scan.says("msg=watching") // it has read what is good
	for _, c := range []struct {
		v                    *s6
		program, name, value string
	}{
		{sidekiq, "sidekiq-run", "SIDEKIQ_TIMEOUT", "soon"},
		{sidekiq, "sidekiq-run", "SIDEKIQ_TIMEOUT", "025"},
		{sidekiq, "sidekiq-run", "SIDEKIQ_APP", s.path("nowhere")},
		{sidekiq, "sidekiq-run", "SIDEKIQ_USER", "nobody-of-this-name"},
		{killer, "memory-killer", "SIDEKIQ_MEMORY_KILLER_MAX_RSS", "2Q"},
		{killer, "memory-killer", "SIDEKIQ_DAEMON_MEMORY_KILLER", "yes"},
	} {
		c.v.running()
		k.sets(map[string]string{c.name: c.value})
		c.v.control("-r") // it is started again, with another environment
		scan.says(c.program+": fatal: "+c.name, strings.Fields(c.value)[0])
		c.v.isLeftDown()
		if lines := scan.lines(c.program+": fatal: "+c.name, strings.Fields(c.value)[0]); len(lines) != 1 {
			s.Errorf("%s=%s: %d lines, want one: %s", c.name, c.value, len(lines), lines)
		}
		k.sets(map[string]string{c.name: good[c.name]})
		c.v.control("-u")
	}
	killer.running()
}

// isLeftDown waits until finish has told s6 to leave it down, which is looked at: root's s6-svwait is not told of another
// user's service.
func (v *s6) isLeftDown() {
	v.s.Helper()
	v.s.waitFor(v.dir+" is left down", func() bool {
		return slices.Equal(v.stat("up,wantedup,normallyup"), []string{"false", "false", "true"})
	})
}

// Without a limit the killer says so once, and waits; the mode is 1 unless it is set.
func TestOverlayKillerWithoutALimitWaits(t *testing.T) {
	s, k := inContainer(t)
	command := k.program("exec sleep 1000\n")
	k.sets(map[string]string{"SIDEKIQ_APP": s.dir, "SIDEKIQ_USER": "root", "SIDEKIQ_COMMAND": command, "MEMORY_KILLER_TARGET": s.path("service/svc-sidekiq")})
	scan := k.starts(k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer"))
	sidekiq, killer := scan.service("svc-sidekiq"), scan.service("svc-sidekiq-memory-killer")
	scan.says("msg=disabled")
	waits := killer.running()
	p := sidekiq.running()
	p.kill()
	sidekiq.running(p)
	k.sets(map[string]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1000000"})
	if n := len(scan.lines("msg=disabled")); n != 1 || !waits.alive() {
		s.Errorf("%d lines say disabled, want one", n)
	}
	killer.control("-r")
	scan.says("msg=watching", "interval_s=3")
}

// s6 ends a service that is told to go down and does not, in the time that SIDEKIQ_TIMEOUT needs and no sooner.
func TestTimeoutKillFollowsSidekiqTimeout(t *testing.T) {
	s, k := inContainer(t)
	k.sets(map[string]string{"SIDEKIQ_APP": s.dir, "SIDEKIQ_USER": "root", "SIDEKIQ_TIMEOUT": "300",
		"SIDEKIQ_COMMAND": k.program("trap '' TERM\necho ready >ready\nwhile :; do sleep 0.1; done\n")})
	dir := k.overlay("svc-sidekiq")
	if firstLine(dir+"/timeout-kill") != "60000" {
		s.Errorf("timeout-kill is %q as shipped, want 60000 for 25 s", firstLine(dir+"/timeout-kill"))
	}
	scan := k.starts(dir)
	v := scan.service("svc-sidekiq")
	ready := func() bool { return os.Remove(s.path("ready")) == nil }
	s.waitFor("ready", ready)
	if firstLine(dir+"/timeout-kill") != "610000" {
		s.Errorf("timeout-kill is %q, want 610000 for 300 s", firstLine(dir+"/timeout-kill"))
	}
	k.sets(map[string]string{"SIDEKIQ_TIMEOUT": "1"})
	v.running().kill()
	s.waitFor("ready", ready)
	p := v.running()
	v.control("-d")
	v.waits("-D")
	if p.alive() {
		s.Error("down, and still there")
	}
	if stat := v.stat("exitcode,signal"); len(stat) != 2 || stat[1] != "SIGKILL" {
		s.Errorf("ended by %v, want SIGKILL", stat)
	}
}

// What a Sidekiq that died left behind is gone before the next one starts.
func TestOverlayFinishEndsTheGroup(t *testing.T) {
	s, k := inContainer(t)
	k.sets(map[string]string{"SIDEKIQ_APP": s.dir, "SIDEKIQ_USER": "root", "SIDEKIQ_TIMEOUT": "5",
		"SIDEKIQ_COMMAND": k.program("(trap '' HUP TERM; exec sleep 1000) &\nwait\n")})
	v := k.starts(k.overlay("svc-sidekiq")).service("svc-sidekiq")
	leader := v.running()
	members := s.groupOf(leader, 2)
	syscall.Kill(leader.pid, syscall.SIGKILL)
	next := v.running(leader)
	for _, p := range members {
		if p.alive() {
			s.Errorf("left behind when the next one (%d) runs: %v", next.pid, p)
		}
	}
	s.groupOf(next, 2) // it has noted its own, which ends with it
}

// An image whose USER is not root: all of it is that user's, from /init on, and nothing of ours needs root.
func TestOverlayAsAnOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	s, k := inContainer(t)
	k.sets(map[string]string{"SIDEKIQ_APP": s.dir, "SIDEKIQ_USER": "root", "SIDEKIQ_TIMEOUT": "6", "MEMORY_KILLER_TARGET": s.path("service/svc-sidekiq"),
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME": "0", "QUIET_SIGNAL": "",
		"SIDEKIQ_COMMAND": k.program("sleep 1000 &\nexec sleep 1000\n")})
	dirs := []string{k.overlay("svc-sidekiq"), k.overlay("svc-sidekiq-memory-killer")}
	s.make("service")
	s.must("chown", "-R", "nobody", s.dir)
	svscan, err := exec.LookPath("s6-svscan") // not in the scripts' PATH
	if err != nil {
		s.Fatal(err)
	}
	scan := s.svscan([]string{"s6-setuidgid", "nobody", svscan}, dirs...)
	v := scan.service("svc-sidekiq")
	first := v.running()
	v.running(first)
	scan.says("msg=restart-done", first.id())
	if left := group(first.pid); len(left) != 0 {
		s.Errorf("left of the first: %v", left)
	}
	s.waitFor("timeout-kill is written", func() bool { return firstLine(dirs[0]+"/timeout-kill") == "22000" })
	if lines := scan.lines("msg=restart-failed"); len(lines) != 0 {
		s.Errorf("%v", lines)
	}
}
