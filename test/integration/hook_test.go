package integration

import (
	"errors"
	"gracekit/test/harness"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hookedSidekiq starts a Sidekiq with the job hook; as another user, if that can be.
func (s *sandbox) hookedSidekiq(env ...string) (p *harness.Child, r *harness.Redis, jobs ledger) {
	s.Helper()
	s.Need("sidekiq")
	r = s.Redis()
	jobs = ledger{s, s.Path("ledger")}
	words := []string{"sidekiq", "-c", "3", "-r", s.hooked(), "--timeout", "5", "--environment", "production"}
	if os.Getuid() == 0 {
		s.Need("chpst")
		words = append([]string{"chpst", "-u", "nobody"}, words...)
		for _, name := range []string{s.Dir, r.Socket} {
			s.Check(os.Chmod(name, 0o777))
		}
	}
	c := s.Command(words[0], words[1:]...)
	c.Env = append(append(c.Env, "REDIS_URL="+r.URL(), "LEDGER="+jobs.file), env...)
	c.Stdout, c.Stderr = s.Output("sidekiq.log")
	p = s.Start(c)
	s.Eventually("Sidekiq has booted", func() bool { return booted(p.Process) })
	return p, r, jobs
}

// A job neither fails nor waits for the job hook, whatever the FIFO is: the process is over its limit all the time.
func TestNoJobMindsTheHook(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	fifo := s.Path("fifo")
	p, redis, jobs := s.hookedSidekiq("SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "MEMORY_KILLER_CONTROL="+fifo)
	var jids []string
	work := func(what string) {
		t.Helper()
		begun := time.Now()
		now := redis.Enqueue(30, "LeakJob", 0, 0)
		jids = append(jids, now...)
		s.Eventually(what+": all jobs are done", func() bool { return jobs.count("done") == len(jids) })
		t.Logf("%s: %v", what, time.Since(begun))
	}
	mkfifo := func(mode uint32) (fd int) {
		t.Helper()
		os.Remove(fifo)
		err := unix.Mkfifo(fifo, 0o600)
		if err == nil {
			err = unix.Chmod(fifo, mode)
		}
		if err == nil {
			fd, err = unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		}
		s.Check(err)
		return fd
	}
	letters := func(fd int) string {
		buf := make([]byte, 4096)
		n, _ := unix.Read(fd, buf)
		return string(buf[:max(n, 0)])
	}

	work("no FIFO")

	fd := mkfifo(0o666)
	work("a FIFO")
	if got := letters(fd); len(got) == 0 || strings.Trim(got, "c") != "" {
		s.Errorf("the FIFO got %q, want c of most jobs", got)
	}

	for size := 4096; size > 0; {
		switch _, err := unix.Write(fd, make([]byte, size)); {
		case errors.Is(err, unix.EAGAIN):
			size /= 2
		case err != nil:
			s.Fatal(err)
		}
	}
	work("a full FIFO")
	unix.Close(fd)

	work("no reader")

	if os.Getuid() == 0 {
		fd = mkfifo(0o600)
		work("somebody else's FIFO")
		if got := letters(fd); got != "" {
			s.Errorf("it got %q", got)
		}
		unix.Close(fd)
	}

	// Neither a file, nor what a link points to, is written.
	os.Remove(fifo)
	s.Write("fifo", "mine\n", 0o666)
	work("a file")
	if text, _ := os.ReadFile(fifo); string(text) != "mine\n" {
		s.Errorf("the file now holds %q", text)
	}
	fd = mkfifo(0o666)
	os.Rename(fifo, s.Path("other"))
	os.Symlink(s.Path("other"), fifo)
	work("a link")
	if got := letters(fd); got != "" {
		s.Errorf("what the link points to got %q", got)
	}
	unix.Close(fd)
	os.Remove(fifo)
	os.Mkdir(fifo, 0o777)
	work("a directory")

	jobs.exactlyOnce(jids)
	if got := redis.Command("LLEN", "queue:default"); got != "0" {
		s.Errorf("%s jobs are left in Redis", got)
	}

	// A job that fails fails as ever, and its end is seen too.
	redis.Enqueue(5, "FailJob")
	s.Eventually("the failed jobs are taken", func() bool { return jobs.count("start") == len(jids)+5 })
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-p.Done
	if p.Code != 0 {
		s.Errorf("Sidekiq: exit %d", p.Code)
	}
	if got := redis.Command("GET", "stat:failed"); got != "5" {
		s.Errorf("%s jobs have failed, want 5", got)
	}
}

// From the quiet signal on the title is true as each job ends: nobody waits for a heartbeat.
func TestTitleOfAQuietSidekiqIsTrueAtOnce(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p, redis, jobs := s.hookedSidekiq("NO_BEATS=1")
	jids := append(redis.Enqueue(1, "WaitJob", s.Path("first")), redis.Enqueue(1, "WaitJob", s.Path("second"))...)
	s.Eventually("both jobs run", func() bool { return jobs.count("start") == 2 })
	syscall.Kill(p.PID, syscall.SIGTSTP)
	// No heartbeat comes: what the title says is the hook's word.
	s.Eventually("it is quiet", func() bool { return strings.HasSuffix(p.Process.Title(), "[2 of 3 busy] stopping") })

	s.Write("first", "", 0o644)
	s.Eventually("one job is left", func() bool { return strings.HasSuffix(p.Process.Title(), "[1 of 3 busy] stopping") })

	waiter := s.Start(s.Command("sidekiq-idle", "-w", "60", p.ID()))
	if harness.Happens(waiter.Done, 300*time.Millisecond) {
		s.Fatalf("-w returned %d with a job running", waiter.Code)
	}
	s.Write("second", "", 0o644)
	<-waiter.Done
	s.Eventually("no job is left", func() bool { return strings.HasSuffix(p.Process.Title(), "[0 of 3 busy] stopping") })
	if waiter.Code != 0 {
		s.Errorf("-w: exit %d, want 0", waiter.Code)
	}
	jobs.exactlyOnce(jids)
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-p.Done
}

// An idle Sidekiq is known to be idle soon after the quiet signal.
func TestIdleSidekiqWithTheHookIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p, _, _ := s.hookedSidekiq("NO_BEATS=1")
	syscall.Kill(p.PID, syscall.SIGTSTP)
	s.Eventually("its title says so, without a heartbeat", func() bool { return strings.HasSuffix(p.Process.Title(), "[0 of 3 busy] stopping") })
	s.Wants(0, "sidekiq-idle", "-w", "60", p.ID())
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-p.Done
}
