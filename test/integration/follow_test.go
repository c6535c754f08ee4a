package integration

import (
	"syscall"
	"testing"
)

// A service directory is followed: when its process ends, for whatever reason, the next one is watched.
func TestGracewatchFollowsTheService(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		v := start()
		p := v.running()
		w := s.gracewatch("-s", "1G", "-i", "100ms", dir, "touch", s.path("restarted"))
		watching := w.event("watching", 1)
		if id := watching.fields["id"]; id != "" && id != p.id() {
			s.Errorf("watching %s, want %s", id, p.id())
		}
		ups := w.count("target-up") // with or without one for the first process

		syscall.Kill(p.pid, syscall.SIGKILL)
		if gone := w.event("target-gone", 1); gone.fields["id"] != p.id() {
			s.Errorf("target-gone of %q, want %q", gone.fields["id"], p.id())
		}
		q := v.running(p)
		if up := w.event("target-up", ups+1); up.fields["id"] != q.id() {
			s.Errorf("target-up of %q, want %q", up.fields["id"], q.id())
		}

		v.down()
		if gone := w.event("target-gone", 2); gone.fields["id"] != q.id() {
			s.Errorf("target-gone of %q, want %q", gone.fields["id"], q.id())
		}
		v.up()
		r := v.running(p, q)
		if up := w.event("target-up", ups+2); up.fields["id"] != r.id() {
			s.Errorf("target-up of %q, want %q", up.fields["id"], r.id())
		}
		if !w.alive() {
			s.Error("gracewatch has ended")
		}
		if n := w.count("restart-begin"); n != 0 {
			s.Errorf("%d restarts of a process that was never over a limit", n)
		}

		// TERM ends gracewatch, and leaves the service alone.
		syscall.Kill(w.pid, syscall.SIGTERM)
		<-w.gone
		if w.code != 0 {
			s.Errorf("gracewatch ended with %d by TERM, want 0", w.code)
		}
		if !r.alive() {
			s.Error("the service ended with gracewatch")
		}
	})
}

// A service that is limited by what it is over from its start, grace time 0: each process is restarted in its turn.
func TestGracewatchRestartsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		v := start()
		p := v.running()
		w := s.gracewatch("-s", "1", "-g", "0", "-i", "100ms", dir, "pgsignal", "-p", "{}", "KILL/5")
		id := p.id()
		for n := 1; n <= 2; n++ {
			if begin := w.event("restart-begin", n); begin.fields["id"] != id {
				s.Errorf("%d. restart is of %q, want %q", n, begin.fields["id"], id)
			}
			w.event("restart-done", n)
			up := w.event("target-up", n)
			if up.fields["id"] == id {
				s.Errorf("target-up of %q, which is gone", id)
			}
			id = up.fields["id"]
		}
		syscall.Kill(w.pid, syscall.SIGTERM)
		<-w.gone
		v.running(p)
	})
}

// A target that is one process: when that ends without a restart, gracewatch exits 1.
func TestGracewatchEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.start(s.command("sleep", "1000"))
	w := s.gracewatch("-s", "1G", p.id())
	w.event("watching", 1)
	p.kill()
	<-w.gone
	if w.code != 1 {
		s.Errorf("exit %d, want 1", w.code)
	}
	w.event("target-gone", 1)
}
