package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The main job with the plain service directories, set up in conf/ as a user does, each with a log of its own.
func TestPlainS6SidekiqLosesNoJob(t *testing.T) {
	s, k := inContainer(t)
	s.need("sidekiq")
	redis, jobs := s.redis(), ledger{s, s.path("ledger")}
	dir, killer := k.service("s6/sidekiq", "sv/sidekiq"), k.service("s6/sidekiq-memory-killer", "sv/sidekiq-memory-killer")
	s.conf(dir, sidekiqConf(s, redis, jobs))
	s.conf(killer, quickWatch)
	scan := k.starts(dir, killer)
	p := scan.service("sidekiq").running()
	s.waitFor("Sidekiq has booted", func() bool { return booted(p) })
	events := s.eventsIn(killer + "/log/main/current")
	jids := redis.enqueue(1, "LeakJob", beyondLimit, 2)
	begin := events.event("restart-begin", 1)
	if begin.pid() != p.pid {
		s.Errorf("restart of %d, want %d: %s", begin.pid(), p.pid, begin.line)
	}
	jids = append(jids, redis.enqueue(4, "LeakJob", 1, 0)...)
	events.event("restart-done", 1)
	scan.service("sidekiq").running(p)
	s.waitFor("all jobs are done", func() bool { return jobs.count("done") >= len(jids) })
	jobs.exactlyOnce(jids)
	if at := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ `); !at.MatchString(begin.line) {
		s.Errorf("no time in the log: %s", begin.line)
	}
	s.waitFor("Sidekiq's own log", func() bool { return firstLine(dir+"/log/main/current") != "" })
}

// What the operator tells s6 while a service is watched is done: restarted, down, up; and the killer follows.
func TestS6OperatorOfAWatchedService(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	v := s.s6(s.path("svc"))
	p := v.running()
	w := s.gracewatch("-s", "1G", "-i", "100ms", v.dir, "touch", s.path("restarted"))
	w.event("watching", 1)

	v.control("-r")
	q := v.running(p)
	if gone, up := w.event("target-gone", 1), w.event("target-up", 1); gone.fields["id"] != p.id() || up.fields["id"] != q.id() {
		s.Errorf("gone %q, up %q; want %q, %q", gone.fields["id"], up.fields["id"], p.id(), q.id())
	}
	v.control("-d")
	v.waits("-D")
	w.event("target-gone", 2)
	s.hasNoProcess(v.dir)
	v.control("-u")
	v.waits("-u")
	r := v.running(p, q)
	if up := w.event("target-up", 2); up.fields["id"] != r.id() {
		s.Errorf("up %q, want %q", up.fields["id"], r.id())
	}
	if !w.alive() || w.count("restart-begin") != 0 {
		s.Errorf("the watcher has ended, or has begun a restart\n%s", w)
	}
}

// A restart by the killer waits for ./finish: who is in it is no target, and the next process is watched.
func TestS6RestartWithALongFinish(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	hold := s.write("hold", "", 0o644)
	defer os.Remove(hold)
	s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
	s.write("svc/finish", "#!/bin/sh\nwhile [ -e "+hold+" ]; do sleep 0.05; done\n", 0o755)
	s.write("svc/timeout-finish", "0\n", 0o644)
	v := s.s6(s.path("svc"))
	p := v.running()
	w := s.gracewatch("-s", "1", "-g", "0", "-i", "100ms", v.dir, "pgsignal", "-p", "{}", "TERM/600")
	if done := w.event("restart-done", 1); done.fields["id"] != p.id() {
		s.Errorf("done with %q, want %q", done.fields["id"], p.id())
	}
	finish := v.inFinish()
	s.hasNoProcess(v.dir)
	if !finish.alive() || w.count("target-up") != 0 {
		s.Errorf("./finish was signalled, or taken for the next process\n%s", w)
	}
	os.Remove(hold)
	if up := w.event("target-up", 1); up.fields["id"] == p.id() || up.fields["id"] == finish.id() {
		s.Errorf("up: %q, want the next process", up.fields["id"])
	}
	w.event("restart-done", 2)
}

// Readiness is the service's own: s6 has it of each process that the killer brings about, when that says so and no sooner.
func TestS6ReadinessIsUnaffected(t *testing.T) {
	t.Parallel()
	const script = `#!/bin/sh
exec memory-killer sh -c 'while ! rm go 2>/dev/null; do sleep 0.05; done; echo >&3; exec 3>&-; exec sleep 1000'
`
	for name, prefix := range map[string]string{"beside it": "", "in front of it": "memory-killer "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.write("svc/run", strings.Replace(script, "memory-killer ", prefix, 1), 0o755)
			s.write("svc/notification-fd", "3\n", 0o644)
			environ := []string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=1000000", "SIDEKIQ_DAEMON_MEMORY_KILLER=1", "QUIET_SIGNAL=", "SIDEKIQ_TIMEOUT=60",
				"MEMORY_KILLER_CONTROL=" + s.path("fifo")}
			c := s.command("s6-supervise", s.path("svc"))
			c.Env = append(c.Env, environ...)
			c.Stdout, c.Stderr = s.log("s6-supervise.log")
			v := &s6{s.start(c), s, s.path("svc")}
			s.Cleanup(v.exit)
			s.waitFor("s6-supervise is there", v.supervised)
			out := s.path("s6-supervise.log")
			if prefix == "" {
				out = s.path("killer.log")
				k := s.command("memory-killer", "-t", v.dir)
				k.Env = append(k.Env, environ...)
				k.Stdout, k.Stderr = s.log("killer.log")
				s.start(k)
			}
			events := s.eventsIn(out)
			var before []process
			for n := 1; n <= 2; n++ {
				p := v.running(before...)
				watched := func(e event) bool { return (e.name == "watching" || e.name == "target-up") && e.pid() == p.pid }
				s.waitFor("it is watched", func() bool { return slices.ContainsFunc(events.seen(), watched) })
				if stat := v.stat("ready"); !slices.Equal(stat, []string{"false"}) {
					s.Errorf("ready: %v, before it says so", stat)
				}
				s.onlyHolder(p, 3, v.process)
				s.tell("svc/go", "")
				v.waits("-U")
				s.tell("fifo", "t") // restart it now
				events.event("restart-done", n)
				before = append(before, p)
			}
			v.running(before...)
		})
	}
}

// tell writes to a file of which others may be the reader.
func (s *sandbox) tell(name, text string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// onlyHolder: of the pipe behind a process's file descriptor, nobody has an end but those that are named.
func (s *sandbox) onlyHolder(p process, fd int, others ...process) {
	s.Helper()
	pipe, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd))
	if err != nil || !strings.HasPrefix(pipe, "pipe:") {
		s.Fatalf("file descriptor %d: %q, %v; want a pipe", fd, pipe, err)
	}
	for _, q := range processes() {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", q.pid))
		for _, file := range fds {
			if held, _ := os.Readlink(file); held == pipe && q.ppid != p.pid && !slices.ContainsFunc(append(others, p), func(o process) bool { return o.pid == q.pid }) {
				s.Errorf("%s of %v holds it too: %v", pipe, p, q)
			}
		}
	}
}
