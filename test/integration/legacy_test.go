package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/test/harness"
)

// Legacy mode: the job hook asks for the checks, and no job is lost by the restarts that follow.
func TestLegacyModeLosesNoJob(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	fifo := s.Path("control", "fifo") // its directory is made
	k := s.sidekiq(map[string]string{"SIDEKIQ_COMMAND": "sidekiq -c 2 -r " + testdata("hooked.rb"),
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS": softKB, "MEMORY_KILLER_CONTROL": fifo})
	events := k.watched(map[string]string{"SIDEKIQ_DAEMON_MEMORY_KILLER": "0", "MEMORY_KILLER_CONTROL": fifo})
	events.Event("watching", 1)
	k.working()
	k.leak(0.1, func() bool { return events.Count("restart-done") >= 2 })
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
	s.Need("chpst")
	j := s.jobs()
	s.Must("chmod", "777", s.Dir, j.redis.Socket)
	name := filepath.Base(s.Dir)
	fifo := "/run/gracekit/" + name + ".control"
	s.Cleanup(func() { os.Remove(fifo) }) // not /run/gracekit: another may be about to write there
	s.Script(name+"/run", `exec 2>&1
export SIDEKIQ_MEMORY_KILLER_MAX_RSS=`+softKB+` SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0 SIDEKIQ_TIMEOUT=3 SIDEKIQ_USER=nobody
exec pgexec -s -f supervise/pgid memory-killer chpst -u nobody sidekiq -c 2 -r '`+testdata("hooked.rb")+`' --timeout 3 --environment production
`)
	s.Script(name+"/finish", "exec group-cleanup\n")
	s.Script(name+"/log/run", "mkdir -p ./main && exec svlogd ./main\n")
	k := &sidekiq{s.Runsv(s.Path(name), j.environment()...), j}
	events := s.Follow(k.Dir + "/log/main/current")
	var before []harness.Process
	for n := 1; n <= 3; n++ {
		events.Event("watching", n)
		p := k.working(before...)
		before = append(before, p)
		var st unix.Stat_t
		if err := unix.Lstat(fifo, &st); err != nil || st.Mode != unix.S_IFIFO|0o620 || st.Uid != 0 || st.Gid != harness.Nobody {
			s.Errorf("%s: mode %o, user %d, group %d, %v; want a FIFO of root's that the user's group may write", fifo, st.Mode, st.Uid, st.Gid, err)
		}
		file := fmt.Sprintf("/run/gracekit/%d/%d.hook", harness.Nobody, p.PID)
		s.Eventually(file+" has the identity that Redis has", func() bool { // written as nobody, for sidekiq-fleet
			var note struct{ Identity string }
			text, err := os.ReadFile(file)
			return err == nil && json.Unmarshal(text, &note) == nil && j.redis.Command("SISMEMBER", "processes", note.Identity) == "1"
		})
		j.enqueue(1, "LeakJob", beyondLimit, 0)
		if begin := events.Event("restart-begin", n); begin.PID() != p.PID {
			s.Errorf("restart of %d, want %d: %s", begin.PID(), p.PID, begin.Line)
		}
	}
	events.Event("restart-done", 3)
	j.allDone()
}
