package integration

import (
	"strings"
	"testing"
)

// A supervised service, by whichever supervisor.
type supervised interface {
	running(not ...process) process
	supervisor() process
	up()
	down()
	pause()
	resume()
	// inFinish waits until ./finish runs, and returns its process.
	inFinish() process
}

func (v *runsv) supervisor() process { return v.process }
func (v *runsv) up()                 { v.control("u") }
func (v *runsv) down()               { v.control("d") }
func (v *runsv) pause()              { v.control("p"); v.waitStat("paused") }
func (v *runsv) resume()             { v.control("c"); v.running() }
func (v *runsv) inFinish() (p process) {
	v.s.Helper()
	// Its stat says finish a moment before ./finish has been started.
	v.s.waitFor(v.dir+" is in finish", func() (alive bool) {
		p, alive = look(v.pid())
		return alive && strings.HasPrefix(v.stat(), "finish") && strings.Contains(p.String(), "finish")
	})
	return p
}

func (v *runsv) waitStat(word string) {
	v.s.Helper()
	v.s.waitFor(v.dir+" is "+word, func() bool { return strings.Contains(v.stat(), word) })
}

func (v *s6) supervisor() process { return v.process }
func (v *s6) up()                 { v.control("-u") }
func (v *s6) down()               { v.control("-d") }
func (v *s6) pause()              { v.control("-p"); v.waitFlag("paused") }
func (v *s6) resume()             { v.control("-c"); v.running() }

func (v *s6) waitFlag(name string) {
	v.s.Helper()
	v.s.waitFor(v.dir+" is "+name, func() bool {
		stat := v.stat(name)
		return len(stat) == 1 && stat[0] == "true"
	})
}

// inFinish finds ./finish among s6-supervise's children: s6-svstat prints no pid for it.
func (v *s6) inFinish() (finish process) {
	v.s.Helper()
	v.s.waitFor(v.dir+" is in finish", func() bool {
		for _, p := range processes() {
			if p.ppid == v.process.pid && strings.Contains(p.String(), "finish") {
				finish = p
				return true
			}
		}
		return false
	})
	return finish
}

func bothSupervisors(t *testing.T, test func(*sandbox, string, func() supervised)) {
	t.Run("runsv", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		test(s, s.path("svc"), func() supervised { return s.runsv(s.path("svc")) })
	})
	t.Run("s6-supervise", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		test(s, s.path("svc"), func() supervised { return s.s6(s.path("svc")) })
	})
}

// hasNoProcess: no for those who ask, done for pgsignal.
func (s *sandbox) hasNoProcess(target string) {
	s.Helper()
	if got := s.wants(1, "svpid", target).stdout; got != "" {
		s.Errorf("svpid printed %q", got)
	}
	s.wants(1, "rssprobe", target)
	s.wants(111, "sidekiq-idle", target) // without a process it cannot tell
	s.wants(0, "pgsignal", target, "TERM/1/KILL")
}
