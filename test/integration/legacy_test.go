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

// Legacy mode: the job hook asks for the checks. memory-killer in front of Sidekiq, which is another user's, names the FIFO
// after the service, lets the user's group write it, and passes it to the hook. Each watcher has its own, while the one
// before may still be at its restart.
func TestLegacyMode(t *testing.T) {
	s := newSandbox(t)
	s.NeedRoot()
	s.Need("chpst")
	j := s.jobs()
	s.Must("chmod", "777", s.Dir, j.redis.Socket)
	name := filepath.Base(s.Dir)
	fifo := "/run/gracekit/" + name + ".control"
	s.Cleanup(func() { os.Remove(fifo) }) // not /run/gracekit: another may be about to write there
	s.Script(name+"/run", `exec 2>&1
export SIDEKIQ_MEMORY_KILLER_MAX_RSS=`+softKB+` SIDEKIQ_MEMORY_KILLER_GRACE_TIME=0
export SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=600 SIDEKIQ_TIMEOUT=3 SIDEKIQ_USER=nobody
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
		if begin := events.Event("restart-begin", n); begin.PID() != p.PID || begin.Fields["reason"] != "legacy" {
			s.Errorf("want a restart of %d, for the reason legacy: %s", p.PID, begin.Line)
		}
	}
	events.Event("restart-done", 3)
	j.allDone()
}
