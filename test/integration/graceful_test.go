package integration

import (
	"fmt"
	"strings"
	"testing"

	"gracekit/test/harness"
)

// A wrapped service has its Sidekiqs below what its ./run becomes.
type wrapped struct {
	s       *sandbox
	service *harness.Runsv
	redis   *harness.Redis
	ledger
}

// wrapped starts one. The line is the end of the run script, in which SIDEKIQ stands for the command line of Sidekiq.
func (s *sandbox) wrapped(line string) *wrapped {
	s.Helper()
	s.Need("sidekiq")
	w := &wrapped{s: s, redis: s.Redis(), ledger: ledger{s, s.Path("ledger")}}
	line = strings.ReplaceAll(line, "SIDEKIQ", "sidekiq -r "+s.app()+" -c 2 -t 20")
	s.Script("svc/run", fmt.Sprintf("exec 2>&1 >>%s\ncd %s\nexport REDIS_URL=%s LEDGER=%s\n%s\n",
		s.Path("sidekiq.log"), s.Dir, w.redis.URL(), w.file, line))
	w.service = s.Runsv(s.Path("svc"))
	s.Cleanup(func() { // runsv ends what stands in front alone
		w.service.Down()
		s.Eventually("the service is down", func() bool {
			for _, p := range w.sidekiqs() {
				p.Kill()
			}
			return w.service.Stat() == "down"
		})
	})
	return w
}

// sidekiqs are those that have booted.
func (w *wrapped) sidekiqs() (found []harness.Process) {
	for _, p := range w.s.Left() {
		if booted(p) {
			found = append(found, p)
		}
	}
	return found
}

// below are all descendants of a process.
func below(p harness.Process) (all []harness.Process) {
	for _, child := range titled(p, "") {
		all = append(append(all, child), below(child)...)
	}
	return all
}

// What stands in front of Sidekiq must not end before it: the jobs that run at a manual restart end in peace, though they
// take longer than the 5 s that are left for what a target leaves behind, and no second Sidekiq is up beside it. That holds
// for a parent, too, that ends all its children when one ends, as sidekiq-cluster: all are idle before one is stopped.
func TestWhatStandsInFrontOfSidekiqCutsNoJob(t *testing.T) {
	t.Parallel()
	cluster := harness.Repo() + "/test/integration/testdata/cluster.rb"
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
		"a cluster":            {"chpst", "exec chpst -P ruby " + cluster + " 2 SIDEKIQ", 2, "100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.Need(c.needs)
			w := s.wrapped(c.line)
			s.Eventually("Sidekiq has booted", func() bool { return len(w.sidekiqs()) == c.sidekiqs })
			old := below(w.service.Process)
			jids := w.redis.Enqueue(2*c.sidekiqs, "LeakJob", 0, 9)
			s.Eventually("all jobs run", func() bool { return w.count("start") == len(jids) })

			command := s.Command("graceful-restart", w.service.Dir)
			command.Env = append(command.Env, "SHUTDOWN_WAIT="+c.wait)
			if r := s.RunCommand(command); r.Code != 0 {
				s.Errorf("exit %d\n%s", r.Code, r.Stderr)
			}
			w.exactlyOnce(jids)
			s.haveEnded(old)
			s.Eventually("there are new ones", func() bool { return len(w.sidekiqs()) == c.sidekiqs })
		})
	}
}
