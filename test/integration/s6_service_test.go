package integration

import (
	"gracekit/test/harness"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The main job with the plain service directories, set up in conf/ as a user does, each with a log of its own.
func TestPlainS6SidekiqLosesNoJob(t *testing.T) {
	s, k := inContainer(t)
	s.Need("sidekiq")
	redis, jobs := s.Redis(), ledger{s, s.Path("ledger")}
	dir, killer := k.service("s6/sidekiq", "sv/sidekiq"), k.service("s6/sidekiq-memory-killer", "sv/sidekiq-memory-killer")
	s.Conf(dir, sidekiqConf(s, redis, jobs))
	s.Conf(killer, quickWatch)
	scan := k.starts(dir, killer)
	p := scan.Service("sidekiq").Running()
	s.Eventually("Sidekiq has booted", func() bool { return booted(p) })
	events := s.Follow(killer + "/log/main/current")
	jids := redis.Enqueue(1, "LeakJob", beyondLimit, 2)
	begin := events.Event("restart-begin", 1)
	if begin.PID() != p.PID {
		s.Errorf("restart of %d, want %d: %s", begin.PID(), p.PID, begin.Line)
	}
	jids = append(jids, redis.Enqueue(4, "LeakJob", 1, 0)...)
	events.Event("restart-done", 1)
	scan.Service("sidekiq").Running(p)
	s.Eventually("all jobs are done", func() bool { return jobs.count("done") >= len(jids) })
	jobs.exactlyOnce(jids)
	if at := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ `); !at.MatchString(begin.Line) {
		s.Errorf("no time in the log: %s", begin.Line)
	}
	s.Eventually("Sidekiq's own log", func() bool { return harness.FirstLine(dir+"/log/main/current") != "" })
}

// Readiness is the service's own: s6 has it of each process that the killer brings about, when that reports it and no sooner.
func TestS6ReadinessIsUnaffected(t *testing.T) {
	t.Parallel()
	const script = `#!/bin/sh
exec memory-killer sh -c 'while ! rm go 2>/dev/null; do sleep 0.05; done; echo >&3; exec 3>&-; exec sleep 1000'
`
	for name, prefix := range map[string]string{"beside it": "", "in front of it": "memory-killer "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.Write("svc/run", strings.Replace(script, "memory-killer ", prefix, 1), 0o755)
			s.Write("svc/notification-fd", "3\n", 0o644)
			environ := []string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1000000", "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "QUIET_SIGNAL=", "SIDEKIQ_TIMEOUT=60",
				"MEMORY_KILLER_CONTROL=" + s.Path("fifo")}
			v := s.S6(s.Path("svc"), environ...)
			out := s.Path("svc.s6-supervise.log")
			if prefix == "" {
				out = s.Path("killer.log")
				k := s.Command("memory-killer", "-t", v.Dir)
				k.Env = append(k.Env, environ...)
				k.Stdout, k.Stderr = s.Output("killer.log")
				s.Start(k)
			}
			events := s.Follow(out)
			var before []harness.Process
			for n := 1; n <= 2; n++ {
				p := v.Running(before...)
				watched := func(e harness.Event) bool { return (e.Name == "watching" || e.Name == "target-up") && e.PID() == p.PID }
				s.Eventually("it is watched", func() bool { return slices.ContainsFunc(events.Seen(), watched) })
				if stat := v.Stat("ready"); !slices.Equal(stat, []string{"false"}) {
					s.Errorf("ready: %v, before it reports that", stat)
				}
				s.send("svc/go", "")
				v.Await("-U")
				s.send("fifo", "t") // restart it now
				events.Event("restart-done", n)
				before = append(before, p)
			}
			v.Running(before...)
		})
	}
}

// send writes to a file of which others may be the reader.
func (s *sandbox) send(name, text string) {
	s.Helper()
	s.Check(os.WriteFile(s.Path(name), []byte(text), 0o600))
}
