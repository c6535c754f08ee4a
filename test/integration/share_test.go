package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A limit of 50% is half of what the cgroup of the process allows, and not of what the machine has.
func TestAShareIsOfTheCgroup(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	group := s.memoryCgroup(200 << 20)
	p := s.Start(s.Command("sh", "-c", "echo $$ >"+group+"/cgroup.procs && exec leaky -max 180000 -grow 2000 -every 50ms"))
	w := s.Gracewatch("-s", "50%", "-H", "80%", "-g", "1h", "-i", "20ms", p.ID(), "pgsignal", "-p", "{}", "KILL/5")
	soft, hard := w.Event("over-soft", 1), w.Event("over-hard", 1)
	if soft.Fields["soft_kb"] != "102400" || hard.Fields["hard_kb"] != "163840" {
		s.Errorf("want 102400 and 163840 KB:\n%s\n%s", soft.Line, hard.Line)
	}
	w.Event("restart-done", 1)
}

// memoryCgroup makes a cgroup with a limit, in bytes, below that of the test itself.
func (s *sandbox) memoryCgroup(limit int) string {
	s.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	s.Check(err)
	path := ""
	for line := range bytes.Lines(own) { // HIERARCHY:CONTROLLERS:PATH
		f := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(f) == 3 && f[1] == "memory" {
			path = f[2]
		}
	}
	if path == "" {
		s.Skip("no memory controller of cgroup v1 (of v2, a group with processes in it has no groups with limits below it)")
	}
	group := filepath.Join("/sys/fs/cgroup/memory", path, "gracekit-"+filepath.Base(s.Dir))
	if err := os.Mkdir(group, 0o755); err != nil {
		s.Skipf("no cgroup may be made here: %v", err)
	}
	s.Cleanup(func() {
		s.Eventually(group+" can be removed", func() bool { return os.Remove(group) == nil })
	})
	if err := os.WriteFile(group+"/memory.limit_in_bytes", []byte(fmt.Sprint(limit)), 0); err != nil {
		s.Skipf("no limit may be set here: %v", err)
	}
	return group
}
