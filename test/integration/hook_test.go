package integration

import (
	"errors"
	"fmt"
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
	var words []string
	if os.Getuid() == 0 {
		s.Need("chpst")
		words = []string{"chpst", "-u", "nobody"}
	}
	return s.startSidekiq(append(words, "sidekiq", "-c", "3", "-r", s.hooked(), "--timeout", "5", "--environment", "production"), env...)
}

// startSidekiq starts a Sidekiq without a supervisor, by a command.
func (s *sandbox) startSidekiq(words []string, env ...string) (p *harness.Child, r *harness.Redis, jobs ledger) {
	s.Helper()
	s.Need("sidekiq")
	r, jobs = s.Redis(), ledger{s, s.Path("ledger")}
	for _, name := range []string{s.Dir, r.Socket} {
		s.Check(os.Chmod(name, 0o777)) // for another user
	}
	c := s.Command(words[0], words[1:]...)
	c.Env = append(append(c.Env, "REDIS_URL="+r.URL(), "LEDGER="+jobs.file), env...)
	c.Stdout, c.Stderr = s.Output("sidekiq.log")
	p = s.Start(c)
	s.Eventually("Sidekiq has booted", func() bool { return booted(p.Process) })
	return p, r, jobs
}

// A job neither fails nor waits for the job hook, whatever the FIFO is: the process is over its limit all the time.
func TestNoJobFailsByTheHook(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	fifo := s.Path("fifo")
	p, redis, jobs := s.hookedSidekiq("SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "MEMORY_KILLER_CONTROL="+fifo)
	mkfifo := func(name string, mode uint32) (fd int) {
		s.Check(unix.Mkfifo(name, 0o600))
		s.Check(unix.Chmod(name, mode))
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		s.Check(err)
		return fd
	}
	var jids []string
	for _, c := range []struct {
		name    string
		make    func() (fd int) // what is read afterwards; -1: nothing
		letters string          // that may be read; at least one of them
	}{
		{"no FIFO", func() int { return -1 }, ""},
		{"a FIFO", func() int { return mkfifo(fifo, 0o666) }, "c"},
		{"a full FIFO", func() int {
			fd := mkfifo(fifo, 0o666)
			for size := 4096; size > 0; {
				if _, err := unix.Write(fd, make([]byte, size)); errors.Is(err, unix.EAGAIN) {
					size /= 2
				} else {
					s.Check(err)
				}
			}
			return fd
		}, "\x00"},
		{"no reader", func() int { unix.Close(mkfifo(fifo, 0o666)); return -1 }, ""},
		{"root's FIFO", func() int { return mkfifo(fifo, 0o600) }, ""},
		{"a link to a FIFO", func() int {
			fd := mkfifo(s.Path("other"), 0o666)
			s.Link("other", "fifo")
			return fd
		}, ""},
		{"a file", func() int { s.Write("fifo", "", 0o666); return -1 }, ""},
		{"a directory", func() int { s.Check(os.Mkdir(fifo, 0o777)); return -1 }, ""},
	} {
		if c.name == "root's FIFO" && os.Getuid() != 0 {
			continue
		}
		fd := c.make()
		jids = append(jids, redis.Enqueue(30, "LeakJob", 0, 0)...)
		s.Eventually(c.name+": all jobs are done", func() bool { return jobs.count("done") == len(jids) })
		if fd >= 0 {
			text := make([]byte, 1<<17)
			n, _ := unix.Read(fd, text)
			if got := string(text[:max(n, 0)]); strings.Trim(got, c.letters) != "" || (got == "") != (c.letters == "") {
				s.Errorf("%s: got %.20q, want %q", c.name, got, c.letters)
			}
			unix.Close(fd)
		}
		if c.name == "a file" && s.Read("fifo") != "" {
			s.Errorf("the file is now %q", s.Read("fifo"))
		}
		os.Remove(fifo)
	}
	jobs.exactlyOnce(jids)
	if got := redis.Command("LLEN", "queue:default"); got != "0" {
		s.Errorf("%s jobs are left in Redis", got)
	}

	// A job that fails fails as without the hook, which sees its end, too.
	redis.Enqueue(5, "FailJob")
	s.Eventually("the failed jobs are taken", func() bool { return jobs.count("start") == len(jids)+5 })
	syscall.Kill(p.PID, syscall.SIGTERM)
	s.Exits(p, 0)
	if got := redis.Command("GET", "stat:failed"); got != "5" {
		s.Errorf("%s jobs have failed, want 5", got)
	}
}

// A quiet Sidekiq with the hook has the truth in its title without a heartbeat: idle at once, and busy until the end of its
// last job.
func TestTitleOfAQuietSidekiqIsTrueAtOnce(t *testing.T) {
	t.Parallel()
	for _, jobs := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d jobs", jobs), func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			p, redis, ledger := s.hookedSidekiq("NO_BEATS=1")
			title := func(busy int) {
				t.Helper()
				want := fmt.Sprintf("[%d of 3 busy] stopping", busy)
				s.Eventually(want, func() bool { return strings.HasSuffix(p.Process.Title(), want) })
			}
			var jids []string
			for n := range jobs {
				jids = append(jids, redis.Enqueue(1, "WaitJob", s.Path(fmt.Sprint("release", n)))...)
			}
			s.Eventually("the jobs run", func() bool { return ledger.count("start") == jobs })
			syscall.Kill(p.PID, syscall.SIGTSTP)
			title(jobs)
			waiter := s.Start(s.Command("sidekiq-idle", "-w", "600", p.ID()))
			for n := range jobs {
				if harness.Happens(waiter.Done, 300*time.Millisecond) {
					s.Fatalf("-w returned %d with a job running", waiter.Code)
				}
				s.Write(fmt.Sprint("release", n), "", 0o644)
				title(jobs - n - 1)
			}
			s.Exits(waiter, 0)
			ledger.exactlyOnce(jids)
			syscall.Kill(p.PID, syscall.SIGTERM)
			<-p.Done
		})
	}
}

// Without the hook sidekiq-idle knows from outside, without Redis, whether jobs are running. 0 busy in the title of a Sidekiq
// that was sent the quiet signal just now proves nothing: the jobs may be younger than it.
func TestSidekiqIdle(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p, redis, ledger := s.startSidekiq([]string{"sidekiq", "-r", s.app(), "-c", "3", "-t", "5"})
	shows := func(want string) {
		t.Helper()
		s.Eventually("sidekiq-idle prints "+want, func() bool {
			r := s.Run("sidekiq-idle", p.ID())
			return fmt.Sprint(strings.TrimSpace(r.Stdout), ", exit ", r.Code) == want
		})
	}
	shows("0 3 running, exit 0")
	release := s.Path("release")
	jids := redis.Enqueue(2, "WaitJob", release)
	s.Eventually("the jobs run", func() bool { return ledger.count("start") == 2 })
	syscall.Kill(p.PID, syscall.SIGTSTP)
	waiter := s.Start(s.Command("sidekiq-idle", "-w", "600", p.ID()))
	// Longer than a heartbeat, and than Ruby keeps its ended threads.
	if harness.Happens(waiter.Done, 6*time.Second) {
		s.Fatalf("-w returned %d with two jobs running", waiter.Code)
	}
	shows("2 3 stopping, exit 1")
	s.Write("release", "", 0o644)
	s.Exits(waiter, 0)
	ledger.exactlyOnce(jids)
	shows("0 3 stopping, exit 0")
	if !p.Alive() {
		s.Error("Sidekiq has exited")
	}
	syscall.Kill(p.PID, syscall.SIGTERM)
	<-p.Done
	s.Wants(111, "sidekiq-idle", p.ID())
}
