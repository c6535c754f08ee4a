package integration

import (
	"strings"
	"testing"

	"gracekit/test/harness"
)

// wrapped starts a service with Sidekiqs below what its ./run becomes. The line is the end of the run script, in which
// SIDEKIQ stands for the command line of Sidekiq.
func (s *sandbox) wrapped(line string) *sidekiq {
	s.Helper()
	j := s.jobs()
	line = strings.ReplaceAll(line, "SIDEKIQ", "sidekiq -r "+testdata("app.rb")+" -c 2 -t 20")
	s.Script("svc/run", "cd "+s.Dir+" && exec 2>&1 >>sidekiq.log\n"+line+"\n")
	v := s.Runsv(s.Path("svc"), j.environment()...)
	s.Cleanup(func() { // runsv ends what stands in front alone
		v.Control("d")
		s.Eventually("the service is down", func() bool {
			for _, p := range s.booted() {
				p.Kill()
			}
			return v.Stat() == "down"
		})
	})
	return &sidekiq{v, j}
}

// booted are the Sidekiqs that have booted.
func (s *sandbox) booted() (found []harness.Process) {
	for _, p := range s.Left() {
		if booted(p) {
			found = append(found, p)
		}
	}
	return found
}

// below are all descendants of a process.
func below(p harness.Process) (all []harness.Process) {
	for _, child := range children(p, "") {
		all = append(append(all, child), below(child)...)
	}
	return all
}

// What stands in front of Sidekiq must not end before it: the jobs that run at a manual restart end in peace, though they
// take longer than the 5 s that are left for what a target leaves behind, and no second Sidekiq is up beside it. That holds
// for a parent, too, that ends all its children when one ends, as sidekiq-cluster: all are idle before one is stopped.
func TestWhatStandsInFrontOfSidekiqCutsNoJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		needs, line string
		sidekiqs    int
		wait        string // SHUTDOWN_WAIT
	}{
		"a shell":              {"sh", "sh -c 'SIDEKIQ; echo ended'", 1, "0.2"},
		"chpst -P and a shell": {"chpst", "exec chpst -P sh -c 'SIDEKIQ; echo ended'", 1, "0.2"},
		"a pipe":               {"sh", "SIDEKIQ | cat", 1, "0.2"},
		"flock":                {"flock", "exec flock lock SIDEKIQ", 1, "0.2"},
		"timeout":              {"timeout", "exec timeout 1d SIDEKIQ", 1, "0.2"},
		"dumb-init":            {"dumb-init", "exec dumb-init SIDEKIQ", 1, "0.2"},
		"setsid":               {"setsid", "exec setsid -w SIDEKIQ", 1, "0.2"},
		"a cluster":            {"chpst", "exec chpst -P ruby " + testdata("cluster.rb") + " 2 SIDEKIQ", 2, "100"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			s.Need(c.needs)
			k := s.wrapped(c.line)
			s.Eventually("Sidekiq has booted", func() bool { return len(s.booted()) == c.sidekiqs })
			old := below(k.Process)
			k.enqueue(2*c.sidekiqs, "LeakJob", 0, 9)
			k.await("start", len(k.jids))
			s.Wants(0, "env", "SHUTDOWN_WAIT="+c.wait, "graceful-restart", k.Dir)
			k.exactlyOnce(k.jids...)
			s.haveEnded(old...)
			s.Eventually("there are new ones", func() bool { return len(s.booted()) == c.sidekiqs })
		})
	}
}
