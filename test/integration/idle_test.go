package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sidekiq-idle tells from outside, without Redis, whether jobs are running.
func TestSidekiqIdle(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.need("sidekiq")
	redis := s.redis()
	jobs := ledger{s, s.path("ledger")}
	c := s.command("sidekiq", "-r", s.app(), "-c", "3", "-t", "5")
	c.Env = append(c.Env, "REDIS_URL="+redis.url(), "LEDGER="+jobs.file)
	p := s.start(c)
	s.waitFor("Sidekiq has booted", func() bool { return booted(p.process) })

	shown := func(args ...string) string {
		r := s.run("sidekiq-idle", append(args, p.id())...)
		return fmt.Sprint(strings.TrimSpace(r.stdout), ", exit ", r.code)
	}
	wants := func(want string) {
		t.Helper()
		last := ""
		s.waitFor("sidekiq-idle says "+want, func() bool { last = shown(); return last == want })
	}
	wants("0 3 running, exit 0")
	release := s.path("release")
	jids := redis.enqueue(2, "WaitJob", release)
	wants("2 3 running, exit 1") // with the next heartbeat
	if r := s.wants(1, "sidekiq-idle", "-w", "500ms", p.id()); r.code == 0 {
		s.Error("-w returned 0 with two jobs running")
	}
	syscall.Kill(p.pid, syscall.SIGTSTP)
	wants("2 3 stopping, exit 1")

	// -w returns when the last job has ended, not before.
	waiting := s.command("sidekiq-idle", "-w", "60", p.id())
	waiter := s.start(waiting)
	if happens(waiter.gone, 300*time.Millisecond) {
		s.Fatalf("-w returned %d with two jobs running", waiter.code)
	}
	s.write("release", "", 0o644)
	<-waiter.gone
	if waiter.code != 0 {
		s.Errorf("-w: exit %d, want 0", waiter.code)
	}
	jobs.exactlyOnce(jids)
	if !p.alive() {
		s.Error("Sidekiq has exited")
	}
	wants("0 3 stopping, exit 0")

	// A process that has exited runs no jobs: -w has nothing to wait for.
	waiter = s.start(s.command("sidekiq-idle", "-w", "60", p.id()))
	syscall.Kill(p.pid, syscall.SIGTERM)
	<-waiter.gone
	<-p.gone
	if waiter.code != 0 {
		s.Errorf("-w at its end: exit %d, want 0", waiter.code)
	}
	s.wants(111, "sidekiq-idle", p.id())
}

// 0 busy in the title of a Sidekiq that was sent the quiet signal just now proves nothing: the jobs may be younger than it.
func TestSidekiqIdleDoesNotTrustAnOldTitle(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.need("sidekiq")
	redis := s.redis()
	jobs := ledger{s, s.path("ledger")}
	c := s.command("sidekiq", "-r", s.app(), "-c", "3", "-t", "5")
	c.Env = append(c.Env, "REDIS_URL="+redis.url(), "LEDGER="+jobs.file)
	p := s.start(c)
	s.waitFor("Sidekiq has booted", func() bool { return booted(p.process) })

	release := s.path("release")
	jids := redis.enqueue(1, "WaitJob", release)
	s.waitFor("the job runs", func() bool { return len(jobs.of(jids[0], "start")) == 1 })
	syscall.Kill(p.pid, syscall.SIGTSTP)
	waiter := s.start(s.command("sidekiq-idle", "-w", "60", p.id()))
	// Longer than a heartbeat, and than Ruby keeps its ended threads.
	if happens(waiter.gone, 6*time.Second) {
		s.Errorf("-w returned %d while the job runs", waiter.code)
	}
	s.write("release", "", 0o644)
	<-waiter.gone
	if waiter.code != 0 {
		s.Errorf("-w: exit %d, want 0", waiter.code)
	}
	jobs.exactlyOnce(jids)
	syscall.Kill(p.pid, syscall.SIGTERM)
	<-p.gone
}

// happens is true if it has happened within that time: for what must not happen.
func happens(event <-chan struct{}, within time.Duration) bool {
	select {
	case <-event:
		return true
	case <-time.After(within):
		return false
	}
}
