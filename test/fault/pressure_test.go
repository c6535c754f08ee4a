package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// memoryGroup is a new memory cgroup with a limit; the test is skipped where there can be none.
func (s *stage) memoryGroup(limit string) string {
	s.Helper()
	if os.Geteuid() != 0 {
		s.Skip("only root makes cgroups")
	}
	name := "gracekit-" + filepath.Base(s.dir)
	for _, way := range []struct{ root, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, // v1
		{"/sys/fs/cgroup", "memory.max"},                   // v2
		{"/sys/fs/cgroup/unified", "memory.max"},
	} {
		dir := filepath.Join(way.root, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if os.WriteFile(filepath.Join(dir, way.file), []byte(limit), 0) != nil {
			os.Remove(dir)
			continue
		}
		s.Cleanup(func() { s.waitFor("the cgroup is empty", func() bool { return os.Remove(dir) == nil }) })
		return dir
	}
	s.Skip("no memory cgroup can be made here (v1 or v2)")
	return ""
}

// In a cgroup that is at its memory limit the check still comes in time. (Who is killed when reclaiming does not help is
// up to the scores, which not every machine lets be lowered: the pressure stays below that.)
func TestUnderMemoryPressureTheCheckComesInTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	group := s.memoryGroup("25M")
	in := func(log string, argv ...string) *child {
		return s.start(log, append([]string{"sh", "-c", `echo $$ >` + group + `/cgroup.procs && exec "$@"`, "sh"}, argv...)...)
	}
	target, j := s.worker("worker")
	p := target.running(proc.ID{})
	l := in("gracewatch.log", "gracewatch", "-s", fmt.Sprint(soft), "-g", "0", "-i", "100ms", "-f", s.path("state"), target.dir, "worker", "restart", j.file)
	l.event("msg=watching", 1)
	// A process has half of it, and pages of a file that is larger than the limit come and go for ever.
	hog := in("hog.log", "leaky", "-max", "12000")
	hog.event("ready", 1)
	big := s.path("big")
	s.must(os.WriteFile(big, make([]byte, 60<<20), 0o600))
	reader := in("reader.log", "sh", "-c", "while :; do cat "+big+" >/dev/null && echo read; done")
	reader.event("read", 2)
	for n := range 2 { // the third would have a limit that is too low
		s.grow(p, j)
		begun := j.event("RESTART", n+1)
		if late := begun.at - j.event("GROWS", n+1).at; late > patience/2 { // a check each 100 ms; the machine may be busy, too
			s.Errorf("restarted %v after it grew", late)
		}
		l.event("msg=restart-done", n+1)
		p = target.running(p.ID)
		l.event("msg=target-up", n+1)
	}
	reader.Signal(unix.SIGKILL)
	hog.Signal(unix.SIGKILL)
	s.must(l.Signal(unix.SIGTERM))
	l.exits(0)
}
