package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/test/harness"
)

// A controlFile is one of a cgroup: what it is called in v1 or v2, and where their hierarchies are mounted.
type controlFile struct{ root, name string }

// group makes a cgroup and writes to the first of the files that is there; the test is skipped where there is none.
func (s *stage) group(text string, files ...controlFile) (dir string, file string) {
	s.Helper()
	s.NeedRoot()
	for _, f := range files {
		dir := filepath.Join(f.root, "gracekit-"+filepath.Base(s.Dir))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		file := filepath.Join(dir, f.name)
		if os.WriteFile(file, []byte(text), 0) != nil {
			os.Remove(dir)
			continue
		}
		s.Cleanup(func() { s.Eventually("the cgroup is empty", func() bool { return os.Remove(dir) == nil }) })
		return dir, file
	}
	s.Skipf("no cgroup with such a file can be made here: %v", files)
	return "", ""
}

// put writes to a file of the kernel.
func (s *stage) put(file string, text any) {
	s.Helper()
	s.Check(os.WriteFile(file, fmt.Append(nil, text), 0))
}

// At the pids limit of its cgroup gracewatch has all the threads that it needs: a restart fails, as there can be no
// program, and is begun again; and a signal ends it.
func TestAtThePidsLimitARestartFailsAndIsBegunAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	group, most := s.group("max", controlFile{"/sys/fs/cgroup/pids", "pids.max"}, controlFile{"/sys/fs/cgroup", "pids.max"})
	target, j := s.worker("worker")
	p := target.Running()
	g := s.watch(target.Dir, "-g 0 -i 50ms -r 300ms", j.restarter())
	g.Line("msg=watching", 1)
	s.put(group+"/cgroup.procs", g.PID)
	s.put(most, 1)
	s.grow(p, j)
	g.Line("msg=restart-failed .*resource temporarily unavailable", 2)
	s.put(most, "max")
	g.Line("msg=restart-done", 1)
	target.Running(p)
	s.put(most, 1)
	s.Check(g.Signal(unix.SIGTERM))
	s.Exits(g.Child, 0)
}

// The thread that a signal or a restart needs was made at the start: at the pids limit of its cgroup the Go runtime ends
// a program that needs another. Not every watcher would need one, but of six nearly always one would.
func TestNoThreadIsMadeAfterTheStart(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target := s.Start(s.Command("sleep", "600"))
	for range 6 {
		name := func(name string) string { return filepath.Join(t.TempDir(), name) }
		fifo := name("fifo")
		g := s.Gracewatch("-s", "1T", "-i", "20ms", "-r", "100ms", "--notify", "true", "-f", name("state"), "-c", fifo, fmt.Sprint(target.PID),
			"sh", "-c", "exit 75")
		threads := func() int {
			list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", g.PID))
			s.Check(err)
			return len(list)
		}
		g.Line("msg=watching", 1)
		before := threads()
		for n := range 3 {
			s.put(fifo, "t")
			g.Line("msg=restart-postponed", n+1)
		}
		if after := threads(); after != before {
			t.Errorf("%d threads after the start, %d after three restarts", before, after)
		}
		s.Check(g.Signal(unix.SIGTERM))
		s.Exits(g.Child, 0)
	}
}

// A target in a frozen cgroup (docker pause) is left alone until it is thawed: no TERM and KILL wait for that moment.
func TestAFrozenTargetIsNotRestartedBeforeItIsThawed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	file, frozen, thawed := controlFile{"/sys/fs/cgroup/freezer", "freezer.state"}, "FROZEN", "THAWED"
	if _, err := os.Stat(file.root); err != nil { // no v1
		file, frozen, thawed = controlFile{"/sys/fs/cgroup", "cgroup.freeze"}, "1", "0"
	}
	group, state := s.group(thawed, file)
	target, j := s.worker("worker")
	_, l := s.watched("watch", target, "-g 0 -i 50ms -r 300ms", j.restarter())
	l.Line("msg=watching", 1)
	p := target.Running()
	s.put(group+"/cgroup.procs", p.PID)
	s.put(state, frozen)
	s.Cleanup(func() { s.put(state, thawed) })
	s.put(target.Dir+"/supervise/gracewatch.control", "t")
	l.Line(`msg=restart-postponed .*why="its cgroup is frozen"`, 2)
	if n := len(j.of("RESTART")); n > 0 {
		s.Errorf("%d restarts of a frozen process", n)
	}
	s.put(state, thawed)
	l.Line("msg=restart-done", 1)
	target.Running(p)
	j.restartedOnce(p.ID())
}

// In a cgroup that is at its memory limit the check still comes in time. (Who is killed when reclaiming does not help is
// up to the scores, which not every machine lets be lowered: the pressure stays below that.)
func TestUnderMemoryPressureTheCheckComesInTime(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	group, _ := s.group("25M", controlFile{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		controlFile{"/sys/fs/cgroup", "memory.max"}, controlFile{"/sys/fs/cgroup/unified", "memory.max"})
	in := func(argv ...string) *harness.Log {
		return s.Watch(s.Command("sh", append([]string{"-c", `echo $$ >` + group + `/cgroup.procs && exec "$@"`, "sh"}, argv...)...))
	}
	target, j := s.worker("worker")
	p := target.Running()
	l := in("gracewatch", "-s", fmt.Sprint(soft), "-g", "0", "-i", "100ms", "-f", s.Path("state"), target.Dir, "worker", "restart", j.file)
	l.Line("msg=watching", 1)
	// A process has half of it, and pages of a file that is larger than the limit come and go for ever.
	hog := in("leaky", "-max", "12000")
	hog.Line("ready", 1)
	big := s.Path("big")
	s.Check(os.WriteFile(big, make([]byte, 60<<20), 0o600))
	reader := in("sh", "-c", "while :; do cat "+big+" >/dev/null && echo read; done")
	reader.Line("read", 2)
	for n := range 2 { // the third would have a limit that is too low
		s.grow(p, j)
		begun := j.event("RESTART", n+1)
		if late := begun.at - j.event("GROWS", n+1).at; late > harness.Patience/2 { // a check each 100 ms; the machine may be busy, too
			s.Errorf("restarted %v after it grew", late)
		}
		l.Line("msg=restart-done", n+1)
		p = target.Running(p)
		l.Line("msg=target-up", n+1)
	}
	reader.Signal(unix.SIGKILL)
	hog.Signal(unix.SIGKILL)
	s.Check(l.Signal(unix.SIGTERM))
	s.Exits(l.Child, 0)
}
