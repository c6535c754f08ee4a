package integration

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"gracekit/test/harness"
)

// The main job with the plain service directories, set up in conf/ as a user does, each with a log of its own.
func TestPlainS6SidekiqLosesNoJob(t *testing.T) {
	s, k := inContainer(t)
	j := s.jobs()
	dir, killer := k.service("s6/sidekiq", "sv/sidekiq"), k.service("s6/sidekiq-memory-killer", "sv/sidekiq-memory-killer")
	s.Conf(dir, j.conf())
	s.Conf(killer, quickWatch)
	scan := k.starts(dir, killer)
	p := scan.Service("sidekiq").Running()
	s.boots(p)
	events := s.Follow(killer + "/log/main/current")
	j.enqueue(1, "LeakJob", beyondLimit, 2)
	begin := events.Event("restart-begin", 1)
	if begin.PID() != p.PID {
		s.Errorf("restart of %d, want %d: %s", begin.PID(), p.PID, begin.Line)
	}
	j.enqueue(4, "LeakJob", 1, 0)
	events.Event("restart-done", 1)
	scan.Service("sidekiq").Running(p)
	j.allDone()
	if at := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ `); !at.MatchString(begin.Line) {
		s.Errorf("no time in the log: %s", begin.Line)
	}
	s.Eventually("Sidekiq's own log", func() bool { return harness.FirstLine(dir+"/log/main/current") != "" })
}

// Readiness is the service's own, though memory-killer stands in front of it: s6 has it of each process that the killer
// brings about, when that reports it and no sooner.
func TestS6ReadinessIsUnaffected(t *testing.T) {
	s := newSandbox(t)
	s.Script("svc/run", "exec memory-killer sh -c 'while ! rm go 2>/dev/null; do sleep 0.05; done; echo >&3; exec 3>&-; exec sleep 1000'\n")
	s.Write("svc/notification-fd", "3\n", 0o644)
	v := s.S6(s.Path("svc"), "SIDEKIQ_MEMORY_KILLER_MAX_RSS=1000000", "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "QUIET_SIGNAL=", "SIDEKIQ_TIMEOUT=60",
		"MEMORY_KILLER_CONTROL="+s.Path("fifo"))
	events := s.Follow(s.Path("svc.s6-supervise.log"))
	var before []harness.Process
	for n := 1; n <= 2; n++ {
		p := v.Running(before...)
		before = append(before, p)
		events.Line("msg=watching .*id="+p.ID(), 1)
		if stat := v.Stat("ready"); !slices.Equal(stat, []string{"false"}) {
			s.Errorf("ready: %v, before it reports that", stat)
		}
		s.send(s.Path("svc/go"), "")
		v.Await("-U")
		s.send(s.Path("fifo"), "t") // restart it now
		events.Event("restart-done", n)
	}
	v.Running(before...)
}

// send writes to a file of which others may be the reader.
func (s *sandbox) send(file, text string) {
	s.Helper()
	s.Check(os.WriteFile(file, []byte(text), 0o600))
}
