package integration

import (
	"encoding/json"
	"fmt"
	"gracekit/test/harness"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hooked is the application with the job hook, which one line loads.
func (s *sandbox) hooked() string {
	s.Helper()
	app, err := filepath.Abs("testdata/hooked.rb")
	s.Check(err)
	return app
}

// legacy starts Sidekiq with the job hook, and its watcher in legacy mode, as two services.
func (s *sandbox) legacy(grace string) (k *sidekiq, events *harness.Log) {
	s.Helper()
	fifo := s.Path("control", "fifo") // its directory is made
	k = s.sidekiq(map[string]string{
		"SIDEKIQ_COMMAND":               "sidekiq -c 2 -r " + s.hooked(),
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS": softKB,
		"MEMORY_KILLER_CONTROL":         fifo,
	})
	events = k.watched(map[string]string{
		"SIDEKIQ_DAEMON_MEMORY_KILLER":     "0",
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS":    softKB,
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME": grace,
		"MEMORY_KILLER_CONTROL":            fifo, // both must have it
	})
	events.Event("watching", 1)
	k.working()
	return k, events
}

// Legacy mode: the job hook asks for the checks, and no job is lost by the restarts that follow.
func TestLegacyModeLosesNoJob(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	k, events := s.legacy("1")
	k.ledger.leaks(k.redis, 0.1, func() bool { return events.Count("restart-done") >= 2 })
	for _, e := range events.Seen() {
		if e.Name == "restart-begin" && e.Fields["reason"] != "legacy" {
			s.Errorf("reason is %q, want legacy: %s", e.Fields["reason"], e.Line)
		}
	}
	if st, err := os.Stat(s.Path("control")); err != nil || st.Mode().Perm() != 0o755 {
		s.Errorf("the directory of the FIFO: %v, %v; want 0755", st.Mode(), err)
	}
}

// memory-killer in front of Sidekiq, which is another user's: it names the FIFO after the service, lets the user's
// group write it, and passes it to the hook. Each watcher has its own, while the one before may still be at its restart.
func TestLegacyModeInARunScript(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.NeedRoot()
	s.Need("sidekiq")
	s.Need("chpst")
	name := filepath.Base(s.Dir)
	fifo := "/run/gracekit/" + name + ".control"
	s.Cleanup(func() { os.Remove(fifo) }) // not /run/gracekit: another may be about to write there
	redis := s.Redis()
	for _, file := range []struct {
		name string
		mode os.FileMode
	}{{s.Dir, 0o777}, {redis.Socket, 0o777}} {
		s.Check(os.Chmod(file.name, file.mode))
	}
	jobs := ledger{s, s.Path("ledger")}
	dir := filepath.Dir(s.Write(name+"/run", `#!/bin/sh
exec 2>&1
export SIDEKIQ_MEMORY_KILLER_MAX_RSS=`+softKB+` SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0 SIDEKIQ_TIMEOUT=3 SIDEKIQ_USER=nobody
exec pgexec -s -f supervise/pgid memory-killer chpst -u nobody sidekiq -c 2 -r '`+s.hooked()+`' --timeout 3 --environment production
`, 0o755))
	s.Write(name+"/finish", "#!/bin/sh\nexec group-cleanup\n", 0o755)
	s.Write(name+"/log/run", "#!/bin/sh\nmkdir -p ./main && exec svlogd ./main\n", 0o755)
	v := s.Runsv(dir, "REDIS_URL="+redis.URL(), "LEDGER="+jobs.file)
	events := s.Follow(dir + "/log/main/current")
	var jids []string
	var before []harness.Process
	for n := 1; n <= 3; n++ {
		events.Event("watching", n)
		p := v.Running(before...)
		s.Eventually("Sidekiq has booted", func() bool { return booted(p) })
		var st unix.Stat_t
		if err := unix.Lstat(fifo, &st); err != nil || st.Mode != unix.S_IFIFO|0o620 || st.Uid != 0 || st.Gid != harness.Nobody {
			s.Errorf("%s: mode %o, user %d, group %d, %v; want a FIFO of root's that the user's group may write", fifo, st.Mode, st.Uid, st.Gid, err)
		}
		file := fmt.Sprintf("/run/gracekit/%d/%d.hook", harness.Nobody, p.PID)
		s.Eventually(file+" has the identity that Redis has", func() bool { // written as nobody, for sidekiq-fleet
			var note struct{ Identity string }
			text, err := os.ReadFile(file)
			return err == nil && json.Unmarshal(text, &note) == nil && redis.Command("SISMEMBER", "processes", note.Identity) == "1"
		})
		jids = append(jids, redis.Enqueue(1, "LeakJob", beyondLimit, 0)...)
		begin := events.Event("restart-begin", n)
		if begin.PID() != p.PID {
			s.Errorf("restart of %d, want %d: %s", begin.PID(), p.PID, begin.Line)
		}
		before = append(before, p)
	}
	events.Event("restart-done", 3)
	jobs.exactlyOnce(jids)
}

// Without a name for it sidekiq-run names the FIFO after the service, as memory-killer does (legacy.txtar), and completes the
// command.
func TestControlIsNamedAfterTheService(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.NeedRoot()
	command := s.Script("command", `echo "$MEMORY_KILLER_CONTROL $*" >shown.new && mv shown.new shown; exec sleep 1000`)
	dir := s.ServiceDir("runit/sidekiq", "web")
	s.Conf(dir, map[string]string{"SIDEKIQ_APP": s.Dir, "SIDEKIQ_USER": "root"})
	for given, want := range map[string]string{"": "--timeout 25 --environment production", " -e staging": "-e staging --timeout 25"} {
		s.Conf(dir, map[string]string{"SIDEKIQ_COMMAND": command + given})
		v := s.Runsv(dir)
		want = "/run/gracekit/web.control " + want
		s.Eventually("the command shows "+want, func() bool { return strings.TrimSpace(s.Read("shown")) == want })
		v.Exit()
	}
}
