package fault

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Below sudo PATH is its secure_path: there each program of ours finds the next one beside itself.
func TestProgramsFindEachOtherWherePathHasNone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.NeedRoot()
	killer, err := exec.LookPath("memory-killer")
	s.Check(err)
	beside := filepath.Dir(killer)
	system := "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

	// sidekiq-run runs pgexec.
	s.Mkdir("supervise")
	r := s.Wants(0, "env", system, "SIDEKIQ_APP="+s.Dir, "SIDEKIQ_USER=root", "SIDEKIQ_COMMAND=echo ran", beside+"/sidekiq-run")
	if !strings.HasPrefix(r.Stdout, "ran --timeout 25") || r.Stderr != "" {
		s.Errorf("sidekiq-run: %q, %q", r.Stdout, r.Stderr)
	}

	// memory-killer runs gracewatch, which runs graceful-restart.
	p := s.Start(s.Command("sleep", "600"))
	s.Wants(0, "env", system, "SIDEKIQ_MEMORY_KILLER_MAX_RSS=1", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0", "MEMORY_KILLER_STATE="+s.Path("state"), killer,
		"-1", p.ID())
	s.Exits(p, -1)
}

// Where Redis is not there at all, nothing of ours keeps Sidekiq from being started, again and again: it exits by its own rule.
// One whose Redis has gone runs on. A limit that is not enforced, because the settings want Redis asked, is an error in the log.
// By hand both are restarted gracefully.
func TestSidekiqWithoutItsRedis(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.Need("sidekiq")
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Path("redis.sock")})
	s.Check(err)
	socket.SetUnlinkOnClose(false) // connection refused
	s.Check(socket.Close())
	redis := "unix://" + s.Path("redis.sock")
	app := s.Write("app.rb", `File.write("started", "#{$$}\n", mode: "a")`, 0o644)
	dir, killerDir := s.ServiceDir("runit/sidekiq", "sidekiq"), s.ServiceDir("runit/sidekiq-memory-killer", "sidekiq-memory-killer")
	s.Conf(dir, map[string]string{"SIDEKIQ_APP": s.Dir, "SIDEKIQ_USER": "root", "SIDEKIQ_COMMAND": "sidekiq -r " + app, "REDIS_URL": redis})
	s.Conf(killerDir, map[string]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "100G", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME": "0",
		"SIDEKIQ_MEMORY_KILLER_MIN_PEERS": "1", "REDIS_URL": redis})
	sidekiq, killer := s.Runsv(dir), s.Runsv(killerDir)
	l, out := s.Follow(killerDir+"/log/main/current"), s.Follow(dir+"/log/main/current")
	l.Line("msg=watching", 1)
	s.Eventually("Sidekiq is started twice", func() bool { return strings.Count(s.Read("started"), "\n") >= 2 })
	out.Line("[Cc]onnection refused|ECONNREFUSED", 1)
	s.Wants(0, "graceful-restart", "-u", dir)

	server := s.Redis()
	s.Eventually("Sidekiq has booted", func() bool { return strings.Contains(sidekiq.Running().Title(), " busy]") })
	p := sidekiq.Running()
	server.Command("SHUTDOWN", "NOSAVE")
	s.Conf(killerDir, map[string]string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS": "1"})
	killer.Control("t")
	l.Line("sidekiq-fleet: error: Redis at .* is not available", 1)
	l.Line("msg=restart-postponed", 1)
	if !p.Alive() {
		s.Error("Sidekiq was ended though Redis could not be asked")
	}
	s.Wants(0, "graceful-restart", "-u", dir)
	sidekiq.Running(p)
}
