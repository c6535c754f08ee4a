package integration

import (
	"fmt"
	"gracekit/test/harness"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plainSidekiq is one without a supervisor.
func (s *sandbox) plainSidekiq() (*harness.Child, *harness.Redis, ledger) {
	s.Helper()
	s.Need("sidekiq")
	redis := s.Redis()
	jobs := ledger{s, s.Path("ledger")}
	c := s.Command("sidekiq", "-r", s.app(), "-c", "3", "-t", "5")
	c.Env = append(c.Env, "REDIS_URL="+redis.URL(), "LEDGER="+jobs.file)
	p := s.Start(c)
	s.Eventually("Sidekiq has booted", func() bool { return booted(p.Process) })
	return p, redis, jobs
}

// sidekiq-idle knows from outside, without Redis, whether jobs are running.
func TestSidekiqIdle(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p, redis, jobs := s.plainSidekiq()

	shown := func(args ...string) string {
		r := s.Run("sidekiq-idle", append(args, p.ID())...)
		return fmt.Sprint(strings.TrimSpace(r.Stdout), ", exit ", r.Code)
	}
	wants := func(want string) {
		t.Helper()
		last := ""
		s.Eventually("sidekiq-idle says "+want, func() bool { last = shown(); return last == want })
	}
	wants("0 3 running, exit 0")
	release := s.Path("release")
	jids := redis.Enqueue(2, "WaitJob", release)
	wants("2 3 running, exit 1") // with the next heartbeat
	if r := s.Wants(1, "sidekiq-idle", "-w", "500ms", p.ID()); r.Code == 0 {
		s.Error("-w returned 0 with two jobs running")
	}
	syscall.Kill(p.PID, syscall.SIGTSTP)
	wants("2 3 stopping, exit 1")

	// -w returns when the last job has ended, not before.
	waiting := s.Command("sidekiq-idle", "-w", "60", p.ID())
	waiter := s.Start(waiting)
	if harness.Happens(waiter.Done, 300*time.Millisecond) {
		s.Fatalf("-w returned %d with two jobs running", waiter.Code)
	}
	s.Write("release", "", 0o644)
	<-waiter.Done
	if waiter.Code != 0 {
		s.Errorf("-w: exit %d, want 0", waiter.Code)
	}
	jobs.exactlyOnce(jids)
	if !p.Alive() {
		s.Error("Sidekiq has exited")
	}
	wants("0 3 stopping, exit 0")

	// A process that has exited runs no jobs: -w has nothing to wait for.
	waiter = s.Start(s.Command("sidekiq-idle", "-w", "60", p.ID()))
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-waiter.Done
	<-p.Done
	if waiter.Code != 0 {
		s.Errorf("-w at its end: exit %d, want 0", waiter.Code)
	}
	s.Wants(111, "sidekiq-idle", p.ID())
}

// 0 busy in the title of a Sidekiq that was sent the quiet signal just now proves nothing: the jobs may be younger than it.
func TestSidekiqIdleDoesNotTrustAnOldTitle(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p, redis, jobs := s.plainSidekiq()

	release := s.Path("release")
	jids := redis.Enqueue(1, "WaitJob", release)
	s.Eventually("the job runs", func() bool { return len(jobs.of(jids[0], "start")) == 1 })
	syscall.Kill(p.PID, syscall.SIGTSTP)
	waiter := s.Start(s.Command("sidekiq-idle", "-w", "60", p.ID()))
	// Longer than a heartbeat, and than Ruby keeps its ended threads.
	if harness.Happens(waiter.Done, 6*time.Second) {
		s.Errorf("-w returned %d while the job runs", waiter.Code)
	}
	s.Write("release", "", 0o644)
	<-waiter.Done
	if waiter.Code != 0 {
		s.Errorf("-w: exit %d, want 0", waiter.Code)
	}
	jobs.exactlyOnce(jids)
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-p.Done
}
