package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"slices"
	"strings"
	"testing"
)

// wrapped starts a service whose Sidekiq is below what its ./run becomes. The line is the end of the run script, in
// which SIDEKIQ stands for the command line of Sidekiq.
func (s *sandbox) wrapped(line string) (*harness.Redis, ledger) {
	s.Helper()
	s.Need("sidekiq")
	redis, jobs := s.Redis(), ledger{s, s.Path("ledger")}
	line = strings.ReplaceAll(line, "SIDEKIQ", "sidekiq -r "+s.app()+" -c 2 -t 20")
	s.Write("svc/run", fmt.Sprintf("#!/bin/sh\nexec 2>&1 >>%s\ncd %s\nexport REDIS_URL=%s LEDGER=%s\n%s\n",
		s.Path("sidekiq.log"), s.Dir, redis.URL(), jobs.file, line), 0o755)
	v := s.Runsv(s.Path("svc"))
	s.Cleanup(func() { // runsv ends what stands in front alone
		v.Control("d")
		s.Eventually("the service is down", func() bool {
			for _, p := range s.sidekiqs() {
				p.Kill()
			}
			return v.Stat() == "down"
		})
	})
	return redis, jobs
}

// sidekiqs lists the Sidekiqs with a title that work on this sandbox's jobs.
func (s *sandbox) sidekiqs() (found []harness.Process) {
	for _, p := range harness.Processes() {
		if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID)); cwd == s.Dir && booted(p) {
			found = append(found, p)
		}
	}
	return found
}

// What stands in front of Sidekiq must not end before it: the job that runs at a manual restart ends in peace, though it
// takes longer than the 5 s that are left for what a target leaves behind, and no second Sidekiq is up beside it.
func TestWhatStandsInFrontOfSidekiqCutsNoJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ needs, line string }{
		"a shell":              {"sh", "sh -c 'SIDEKIQ; echo ended'"},
		"chpst -P and a shell": {"chpst", "exec chpst -P sh -c 'SIDEKIQ; echo ended'"},
		"a pipe":               {"sh", "SIDEKIQ | cat"},
		"flock":                {"flock", "exec flock lock SIDEKIQ"},
		"timeout":              {"timeout", "exec timeout 1d SIDEKIQ"},
		"dumb-init":            {"dumb-init", "exec dumb-init SIDEKIQ"},
		"setsid":               {"setsid", "exec setsid -w SIDEKIQ"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.Need(c.needs)
			redis, jobs := s.wrapped(c.line)
			s.Eventually("Sidekiq has booted", func() bool { return len(s.sidekiqs()) == 1 })
			old := s.sidekiqs()[0]
			jids := redis.Enqueue(1, "LeakJob", 0, 9)
			s.Eventually("the job runs", func() bool { return jobs.count("start") == 1 })

			command := s.Command("graceful-restart", s.Path("svc"))
			command.Env = append(command.Env, "SHUTDOWN_WAIT=0.2")
			r := s.RunCommand(command)
			if r.Code != 0 {
				s.Errorf("exit %d\n%s", r.Code, r.Stderr)
			}
			if old.Alive() {
				s.Error("the old Sidekiq is still there")
			}
			jobs.exactlyOnce(jids)
			s.Eventually("there is a new Sidekiq", func() bool { return len(s.sidekiqs()) == 1 && s.sidekiqs()[0].ID() != old.ID() })
		})
	}
}

// A parent that ends all its children when one ends, as sidekiq-cluster, cuts no job: all are idle before one is stopped.
func TestACluster(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	cluster, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	redis, jobs := s.wrapped("exec chpst -P ruby " + cluster + "/testdata/cluster.rb 2 SIDEKIQ")
	s.Eventually("two Sidekiqs have booted", func() bool { return len(s.sidekiqs()) == 2 })
	old := s.sidekiqs()
	var metrics harness.Process
	for _, pid := range s.pidsIn(s.Path("cluster.pids")) {
		metrics, _ = harness.FindProcess(pid) // the last one
	}
	jids := redis.Enqueue(4, "LeakJob", 0, 14) // beyond the 10 s that the parent gives its children
	s.Eventually("all jobs run", func() bool { return jobs.count("start") == 4 })
	one := s.Command("graceful-restart", old[0].ID()) // as gracewatch runs it for one of them
	one.Env = append(one.Env, "SHUTDOWN_WAIT=100", "GRACE_SERVICE="+s.Path("svc"))
	if r := s.RunCommand(one); r.Code != 0 {
		s.Errorf("exit %d\n%s", r.Code, r.Stderr)
	}
	for _, p := range append(slices.Clone(old), metrics) {
		if p.Alive() {
			s.Errorf("still there: %v", p)
		}
	}
	jobs.exactlyOnce(jids)
	s.Eventually("there are two new ones", func() bool { return len(s.sidekiqs()) == 2 })
}
