package integration

import (
	"os"
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

// A service directory stands for the process that ./run became, for as long as there is one.
func TestServiceStates(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		hold := s.write("hold", "", 0o644)
		defer os.Remove(hold)
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		s.write("svc/finish", "#!/bin/sh\nwhile [ -e "+hold+" ]; do sleep 0.05; done\n", 0o755)
		s.write("svc/timeout-finish", "0\n", 0o644) // s6: finish may take as long as it wants
		v := start()

		// up
		p := v.running()
		if got := s.wants(0, "svpid", dir).stdout; got != p.id()+"\n" {
			s.Errorf("svpid printed %q, want %q", got, p.id())
		}
		s.wants(0, "rssprobe", dir)

		// paused: a stopped process is a process
		v.pause()
		if got := s.wants(0, "svpid", dir).stdout; got != p.id()+"\n" {
			s.Errorf("paused: svpid printed %q, want %q", got, p.id())
		}
		v.resume()

		// in finish: its pid is that of ./finish, which is nobody's target
		v.down()
		finish := v.inFinish()
		s.hasNoProcess(dir)
		if !finish.alive() {
			s.Error("./finish was signalled")
		}

		// down
		os.Remove(hold)
		s.waitFor("finish has ended", func() bool { return !finish.alive() })
		s.hasNoProcess(dir)
		if !v.supervisor().alive() {
			s.Error("the supervisor was signalled")
		}

		// up again: another process
		v.up()
		q := v.running(p)
		if got := s.wants(0, "svpid", dir).stdout; got != q.id()+"\n" {
			s.Errorf("svpid printed %q, want %q", got, q.id())
		}
		v.down()
		s.waitFor("down", func() bool { return !q.alive() })
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

// The status of a supervisor that is gone is stale, though the process may even be there: refused.
func TestServiceThatNobodySupervises(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		v := start()
		p := v.running()
		s.Cleanup(p.kill)
		v.supervisor().kill()
		s.waitFor("the supervisor is gone", func() bool { return !v.supervisor().alive() })
		s.isRefused(dir)
		if !p.alive() {
			s.Error("signalled on the word of a stale status")
		}
		p.kill()
		s.waitFor("gone", func() bool { return !p.alive() })
		s.isRefused(dir)
	})
}

func (s *sandbox) isRefused(target string) {
	s.Helper()
	if r := s.wants(111, "svpid", target); r.stdout != "" || !oneLineNaming(r.stderr, target) {
		s.Errorf("want one line on stderr that names %s, got\nstdout: %sstderr: %s", target, r.stdout, r.stderr)
	}
	s.wants(111, "rssprobe", target)
	s.wants(111, "sidekiq-idle", target)
	s.wants(111, "pgsignal", target, "TERM/1/KILL")
}

// Service directories and supervise are symlinks on Debian, with s6-rc and in s6-overlay.
func TestSymlinkedServiceDirectory(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		if err := os.Mkdir(s.path("run"), 0o755); err != nil { // the supervisor makes run/svc
			s.Fatal(err)
		}
		if err := os.Symlink(s.path("run", "svc"), s.path("svc", "supervise")); err != nil {
			s.Fatal(err)
		}
		if err := os.Symlink(dir, s.path("link")); err != nil {
			s.Fatal(err)
		}
		p := start().running()
		for _, target := range []string{dir, dir + "/", s.path("link"), s.path("link") + "/"} {
			if got := s.wants(0, "svpid", target).stdout; got != p.id()+"\n" {
				s.Errorf("svpid %s printed %q, want %q", target, got, p.id())
			}
		}
	})
}

// A service directory that someone else could have written says nothing that can be relied on.
func TestServiceDirectoryOfSomeoneElse(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		p := start().running()
		for _, part := range []string{dir, dir + "/supervise"} {
			before, err := os.Stat(part)
			if err != nil {
				s.Fatal(err)
			}
			os.Chmod(part, 0o777)
			s.isRefused(dir)
			os.Chmod(part, before.Mode())
			os.Chown(part, nobody, nobody)
			s.isRefused(dir)
			os.Chown(part, 0, 0)
		}
		s.wants(0, "svpid", dir)
		if !p.alive() {
			s.Error("signalled")
		}
	})
}
