package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"gracekit/test/harness"
)

// hasTitle waits until the title of a Sidekiq ends so.
func (s *sandbox) hasTitle(p harness.Process, end string) {
	s.Helper()
	s.Eventually(end, func() bool { return strings.HasSuffix(p.Title(), end) })
}

// waitsForJobs starts sidekiq-idle -w, which must not return while jobs are running.
func (s *sandbox) waitsForJobs(p harness.Process, within time.Duration) *harness.Child {
	s.Helper()
	waiter := s.Start(s.Command("sidekiq-idle", "-w", "600", p.ID()))
	if harness.Happens(waiter.Done, within) {
		s.Fatalf("-w returned %d with jobs running", waiter.Code)
	}
	return waiter
}

// A quiet Sidekiq with the job hook, of another user if that can be, has the truth in its title without a heartbeat: busy until
// the end of its last job, and then idle. A job that fails fails as without the hook, which sees its end, too.
func TestTitleOfAQuietSidekiqIsTrueAtOnce(t *testing.T) {
	s := newSandbox(t)
	j := s.jobs()
	command := []string{"env", "NO_BEATS=1", "sidekiq", "-c", "3", "-r", testdata("hooked.rb"), "--timeout", "5", "--environment", "production"}
	if os.Getuid() == 0 {
		s.Need("chpst")
		command = append([]string{"chpst", "-u", "nobody"}, command...)
		s.Must("chmod", "777", s.Dir, j.redis.Socket)
	}
	p := j.start(command...)
	j.redis.Enqueue(1, "FailJob", s.Path("release0"))
	j.enqueue(1, "WaitJob", s.Path("release1"))
	j.await("start", 2)
	syscall.Kill(p.PID, syscall.SIGTSTP)
	s.hasTitle(p.Process, "[2 of 3 busy] stopping")
	waiter := s.waitsForJobs(p.Process, 300*time.Millisecond)
	for n, title := range []string{"[1 of 3 busy] stopping", "[0 of 3 busy] stopping"} {
		s.Write(fmt.Sprint("release", n), "", 0o644)
		s.hasTitle(p.Process, title)
	}
	s.Exits(waiter, 0)
	syscall.Kill(p.PID, syscall.SIGTERM)
	s.Exits(p, 0)
	j.await("done", 1)
	if failed := j.redis.Command("GET", "stat:failed"); failed != "1" {
		s.Errorf("%s jobs have failed, want 1", failed)
	}
}

// Without the hook sidekiq-idle knows from outside, without Redis, whether jobs are running. 0 busy in the title of a Sidekiq
// that was sent the quiet signal just now proves nothing: the jobs may be younger than it.
func TestSidekiqIdle(t *testing.T) {
	s := newSandbox(t)
	j := s.jobs()
	p := j.start("sidekiq", "-r", testdata("app.rb"), "-c", "3", "-t", "5")
	shows := func(want string) {
		t.Helper()
		s.Eventually("sidekiq-idle prints "+want, func() bool {
			r := s.Run("sidekiq-idle", p.ID())
			return fmt.Sprint(strings.TrimSpace(r.Stdout), ", exit ", r.Code) == want
		})
	}
	shows("0 3 running, exit 0")
	j.enqueue(2, "WaitJob", s.Path("release"))
	j.await("start", 2)
	syscall.Kill(p.PID, syscall.SIGTSTP)
	waiter := s.waitsForJobs(p.Process, 6*time.Second) // longer than a heartbeat, and than Ruby keeps its ended threads
	shows("2 3 stopping, exit 1")
	s.Write("release", "", 0o644)
	s.Exits(waiter, 0)
	j.allDone()
	shows("0 3 stopping, exit 0")
	if !p.Alive() {
		s.Error("Sidekiq has exited")
	}
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-p.Done
	s.Wants(111, "sidekiq-idle", p.ID())
}
