package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/watch"
	"gracekit/test/harness"
)

// alone is a worker without a supervisor.
func (s *stage) alone() (harness.Process, journal) {
	s.Helper()
	j := s.journal("worker.journal")
	c := s.Start(s.Command("worker", "serve", "-max", fmt.Sprint(large), j.file))
	j.event("START", 1)
	return c.Process, j
}

// In a time namespace whose clock is another, a state file is of no use: that is logged, and it is not acted on.
func TestAStateFileFromAnotherTimeNamespace(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.NeedThat("unshare", "--time", "--boottime", "100000", "true")
	p, j := s.alone()
	s.grow(p, j)
	j.event("LARGE", 1)
	pid := fmt.Sprint(p.PID)
	once := []string{"gracewatch", "-1", "-s", fmt.Sprint(soft), "-g", "1h", "-f", "state", pid, "worker", "restart", j.file}
	ahead := append([]string{"unshare", "--time", "--boottime", "100000"}, once...)
	for i, argv := range [][]string{once, ahead, once} {
		r := s.Wants(0, argv[0], argv[1:]...)
		if !strings.Contains(r.Stderr, "msg=over-soft") || (i > 0) != strings.Contains(r.Stderr, "not resumed") {
			s.Errorf("%v: %s", argv, r.Stderr)
		}
	}
	if len(j.of("RESTART")) > 0 {
		s.Error("restarted before the grace time was over")
	}
}

// A full disk where the state is written is logged once, and the watching goes on; when there is room again, the state is
// kept again.
func TestADiskThatIsFull(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	p, j := s.alone()
	l := s.mounted("mkdir disk; mount -t tmpfs -o size=16k x disk; head -c 20000 /dev/zero >disk/fill", p, "-g 1h -i 50ms -f disk/state", "false")
	l.Line("msg=watching", 1)
	l.Line("cannot keep the state", 1)
	s.grow(p, j)
	l.Line("msg=over-soft", 1)
	s.Check(p.Signal(unix.SIGUSR1))
	l.Line("msg=under-soft", 1)
	s.Polls(l.Process)
	s.inMountsOf(l, "rm disk/fill")
	s.grow(p, j)
	l.Line("msg=over-soft", 2)
	s.Eventually("the state is kept", func() bool { return strings.Contains(s.inMountsOf(l, "cat disk/state"), `"over": true`) })
	l.WantLines("cannot keep the state", 1)
}

// A limit for the size of files (RLIMIT_FSIZE) that is below that of the state does not end gracewatch.
func TestALimitForTheSizeOfFiles(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	p, j := s.alone()
	s.Script("prog", "ulimit -f unlimited; exec "+j.restarter()+"\n")
	// Its messages go through a pipe, which the limit is not for.
	l := s.Watch(s.Command("sh", "-c", `ulimit -H -f unlimited; (prlimit --fsize=50:unlimited -- "$@"; echo "exit $?") 2>&1 | cat`, "sh",
		"gracewatch", "-s", fmt.Sprint(soft), "-g", "200ms", "-i", "50ms", "-f", "state", p.ID(), "./prog"))
	l.Line("msg=watching", 1)
	s.grow(p, j)
	l.Line("msg=restart-done", 1)
	l.Line("exit 0", 1)
	l.WantLines("cannot keep the state", 1)
}

// restarting writes a state file of a process whose restart has begun. prog is the program, if that was noted.
func (s *stage) restarting(file string, p harness.Process, prog string) {
	s.Helper()
	boot, err := proc.Boot()
	s.Check(err)
	text, err := json.Marshal(watch.Snapshot{Version: watch.SnapshotVersion, Boot: boot, Target: p.ID(), Soft: fmt.Sprint(soft), Hard: "0",
		Instances: []watch.InstanceSnapshot{{ID: p.ID(), KB: 50000, Prog: prog,
			State: grace.State{Over: true, Since: 1, GraceOver: true, Restarting: true, Reason: grace.Soft}}}})
	s.Check(err)
	s.Write(file, string(text), 0o600)
}

// Where nothing can be written, as on a read-only file system, a restart that had begun is resumed all the same.
func TestAStateThatCanBeReadAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	p, j := s.alone()
	s.restarting("disk/state", p, "")
	l := s.mounted("mount --bind disk disk; mount -o remount,ro,bind disk", p, "-g 1h -f disk/state", j.restarter())
	s.Exits(l.Child, 0)
	l.Line("msg=restart-done", 1)
	l.WantLines("cannot keep the state", 1)
}

// Killed while its program runs, gracewatch waits for that and starts no second one; also if it was killed before it could
// note who that is. A process of another user is not believed to be it.
func TestKilledWhileItsProgramRunsItWaitsForThat(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		noted    bool
		uid      int
		restarts int
	}{"noted": {true, os.Getuid(), 0}, "not noted": {false, os.Getuid(), 0}, "another user's": {false, harness.Nobody, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			p, j := s.alone()
			program := s.Command("env", "GRACE_TARGET="+p.ID(), "sleep", "1000")
			if c.uid != os.Getuid() {
				s.NeedRoot()
				s.Check(os.Chmod(s.Dir, 0o755))
				program.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}}
			}
			prog := s.Start(program)
			s.Eventually("it is the program", func() bool { return strings.HasPrefix(prog.Process.Title(), "sleep") })
			noted := ""
			if c.noted {
				noted = prog.ID()
			}
			s.restarting("state", p, noted)
			l := s.watch(p.ID(), "-g 1h -f state", j.restarter())
			l.Line("msg=watching", 1)
			if c.restarts == 0 {
				s.Polls(l.Process)
				p.Kill()
				prog.Kill()
			}
			l.Line("msg=restart-done", 1)
			s.Exits(l.Child, 0)
			if n := len(j.of("RESTART")); n != c.restarts {
				s.Errorf("%d programs beside that, want %d", n, c.restarts)
			}
		})
	}
}
