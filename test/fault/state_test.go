package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/watch"
)

// snapshot is a state file of one process, as gracewatch writes it.
func snapshot(boot, target, id string, state grace.State, backoff grace.Backoff) string {
	text, _ := json.Marshal(watch.Snapshot{Version: 1, Boot: boot, Target: target, Soft: fmt.Sprint(soft), Hard: "0", Backoff: backoff,
		Instances: []watch.InstanceSnapshot{{ID: id, KB: 50000, State: state}}})
	return string(text)
}

// readSnapshot reads a state file; the zero Snapshot if there is none.
func readSnapshot(file string) (s watch.Snapshot) {
	text, _ := os.ReadFile(file)
	if json.Unmarshal(text, &s) != nil {
		return watch.Snapshot{}
	}
	return s
}

// instanceOf is the first instance of a state file.
func instanceOf(file string) watch.InstanceSnapshot {
	if s := readSnapshot(file); len(s.Instances) > 0 {
		return s.Instances[0]
	}
	return watch.InstanceSnapshot{}
}

// alone is a worker without a supervisor.
func (s *stage) alone() (*proc.Process, journal) {
	s.Helper()
	j := s.journal("worker.journal")
	c := s.start("worker.log", "worker", "serve", "-max", fmt.Sprint(large), j.file)
	j.event("START", 1)
	return c.Process, j
}

// A state file that is damaged, cut off, from another boot, of another target or of another process, or that somebody else
// could have written, is told once, never acted on, and not resumed.
func TestAStateFileThatIsOfNoUse(t *testing.T) {
	t.Parallel()
	boot, err := proc.Boot()
	if err != nil {
		t.Fatal(err)
	}
	// What a gracewatch believes starts a restart at once.
	good := func(boot, target, id string) string {
		return snapshot(boot, target, id, grace.State{Over: true, Since: 1000, GraceOver: true, Restarting: true, Reason: grace.Soft}, grace.Backoff{})
	}
	write := func(mode os.FileMode, text func(s *stage, id string) string) func(*stage, string, string) {
		return func(s *stage, file, id string) {
			s.must(os.WriteFile(file, []byte(text(s, id)), mode))
			s.must(os.Chmod(file, mode))
		}
	}
	right := func(s *stage, id string) string { return good(boot, id, id) }
	for name, c := range map[string]struct {
		make  func(s *stage, file, id string)
		told  string
		stays bool // and is never written
	}{
		"right":    {make: write(0o600, right)},
		"damaged":  {make: write(0o600, func(s *stage, id string) string { return strings.Replace(right(s, id), `"id"`, `"di"`, 1) }), told: "it is damaged"},
		"negative": {make: write(0o600, func(s *stage, id string) string { return strings.Replace(right(s, id), ":1000", ":-1", 1) }), told: "it is damaged"},
		"binary":   {make: write(0o600, func(*stage, string) string { return "\x00\xff\x00\n\n\nend\n" }), told: "it is damaged"},
		"empty":    {make: write(0o600, func(*stage, string) string { return "" }), told: "it is damaged|EOF"},
		"cut off":  {make: write(0o600, func(s *stage, id string) string { return strings.TrimSuffix(right(s, id), "}") }), told: "it is damaged"},
		"cut off in the middle": {make: write(0o600, func(s *stage, id string) string {
			return right(s, id)[:100]
		}), told: "it is damaged"},
		"long":               {make: write(0o600, func(*stage, string) string { return strings.Repeat("boot x\n", 1<<18) }), told: "longer than"},
		"from another boot":  {make: write(0o600, func(s *stage, id string) string { return good("5f0c6c52", id, id) }), told: "from another boot"},
		"of another process": {make: write(0o600, func(s *stage, id string) string { return good(boot, id, strings.Replace(id, ":", ":1", 1)) }), told: ""},
		"for everybody":      {make: write(0o666, right), told: "mode 06[62]"},
		"for a group": {make: func(s *stage, file, id string) {
			write(0o620, right)(s, file, id)
			s.must(os.Chown(file, -1, 65534)) // gid 0 is trusted
		}, told: "mode 06[62]|gid"},
		"a link": {make: func(s *stage, file, id string) {
			write(0o600, right)(s, file+".real", id)
			s.must(os.Symlink(file+".real", file))
		}, told: "symbolic link"},
		"a directory": {make: func(s *stage, file, id string) { s.must(os.Mkdir(file, 0o700)) }, told: "regular file", stays: true},
		"a FIFO":      {make: func(s *stage, file, id string) { s.must(unix.Mkfifo(file, 0o600)) }, told: "regular file", stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			p, j := s.alone()
			c.make(s, s.path("state"), p.ID.String())
			l := s.watch(p.ID.String(), "-g 1h -i 50ms -f state", j.restarter())
			l.event("msg=watching", 1)
			if name == "right" { // so that the others prove something
				l.exits(0)
				l.event("msg=restart-done", 1)
				return
			}
			s.grow(p, j)
			l.event("msg=over-soft", 1)
			s.polls(l.Process)
			if name != "of another process" {
				l.times("not resumed", 1)
				l.times("not resumed.*("+c.told+")", 1)
			}
			if len(j.of("RESTART")) > 0 && name != "of another process" {
				s.Error("it was acted on")
			}
			if c.stays {
				l.times("cannot keep the state", 1)
				return
			}
			info, err := os.Lstat(s.path("state"))
			s.must(err)
			if text := s.read("state"); info.Mode() != 0o600 || !strings.Contains(text, p.ID.String()) || !strings.HasSuffix(text, "\n}\n") {
				s.Errorf("afterwards it is %v: %q", info.Mode(), text)
			}
			if name == "a link" && !strings.Contains(s.read("state.real"), `"since":1000`) {
				s.Error("what the link points to was written")
			}
		})
	}
}

// Written by a clock that was ahead, a state file is not believed: nothing waits for a time that is far off.
func TestAStateFileFromTheFuture(t *testing.T) {
	t.Parallel()
	boot, err := proc.Boot()
	if err != nil {
		t.Fatal(err)
	}
	future := proc.Now() * 1000
	for name, c := range map[string]struct {
		backoff grace.Backoff
		state   grace.State
	}{
		"the back-off":    {grace.Backoff{Soft: grace.Streak{Count: 5, Last: future, Gap: time.Minute, Over: 1}}, grace.State{}},
		"the grace timer": {grace.Backoff{}, grace.State{Over: true, Since: future}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			p, j := s.alone()
			s.write("state", snapshot(boot, p.ID.String(), p.ID.String(), c.state, c.backoff), 0o600)
			s.grow(p, j)
			l := s.watch(p.ID.String(), "-g 100ms -i 50ms -r 100ms -f state", j.restarter())
			l.exits(0)
			l.times("not resumed", 1)
		})
	}
}

// In a time namespace whose clock is another, a state file is of no use, is told, and is not acted on.
func TestAStateFileFromAnotherTimeNamespace(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.need("unshare", "--time", "--boottime", "100000", "true")
	p, j := s.alone()
	s.grow(p, j)
	j.event("LARGE", 1)
	pid := fmt.Sprint(p.ID.PID)
	once := []string{"gracewatch", "-1", "-s", fmt.Sprint(soft), "-g", "1h", "-f", "state", pid, "worker", "restart", j.file}
	ahead := append([]string{"unshare", "--time", "--boottime", "100000"}, once...)
	for i, argv := range [][]string{once, ahead, once} {
		code, out := s.run(argv...)
		if code != 0 || !strings.Contains(out, "msg=over-soft") || (i > 0) != strings.Contains(out, "not resumed") {
			s.Errorf("%v: exit %d: %s", argv, code, out)
		}
	}
	if len(j.of("RESTART")) > 0 {
		s.Error("restarted before the grace time was over")
	}
}

// The disk full where the state is written, that is told once and the watching goes on; when there is room again, the
// state is kept again.
func TestADiskThatIsFull(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ size, told string }{
		"no room":   {"size=16k", "cannot keep the state"},
		"no inodes": {"size=1M,nr_inodes=4", "cannot keep the state"}, // not even for the lock
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.need("unshare", "-m", "true")
			s.must(os.Mkdir(s.path("disk"), 0o755))
			p, j := s.alone()
			l := s.start("gracewatch.log", "unshare", "-m", "sh", "-c", "mount -t tmpfs -o "+c.size+" x disk; head -c 20000 /dev/zero >disk/fill; : >disk/fill2; : >disk/fill3;"+
				`exec gracewatch "$@"`, "sh", "-s", fmt.Sprint(soft), "-g", "1h", "-i", "50ms", "-f", "disk/state", p.ID.String(), "false")
			inside := func(command string) string {
				_, out := s.run("nsenter", "-t", fmt.Sprint(l.ID.PID), "-m", "sh", "-c", "cd "+s.dir+" && "+command)
				return out
			}
			l.event("msg=watching", 1)
			l.event(c.told, 1)
			s.grow(p, j)
			l.event("msg=over-soft", 1)
			s.must(p.Signal(unix.SIGUSR1))
			l.event("msg=under-soft", 1)
			s.polls(l.Process)
			l.times("cannot keep the state", 1)
			inside("rm disk/fill*")
			s.grow(p, j)
			l.event("msg=over-soft", 2)
			s.waitFor("the state is kept", func() bool { return strings.Contains(inside("cat disk/state"), `"over": true`) })
			inside("cat /dev/zero >disk/fill")
			if name == "no room" {
				s.must(p.Signal(unix.SIGUSR1))
				l.event("msg=under-soft", 2)
				l.event("cannot keep the state", 2) // it is another time
				s.grow(p, j)
				l.event("msg=over-soft", 3)
				s.polls(l.Process)
				l.times("cannot keep the state", 2)
			}
		})
	}
}

// A limit for the size of files (RLIMIT_FSIZE) that is below that of the state does not end gracewatch.
func TestALimitForTheSizeOfFiles(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	p, j := s.alone()
	s.write("prog", "#!/bin/sh\nulimit -f unlimited; exec "+j.restarter()+"\n", 0o755)
	s.write("gracewatch.log", "", 0o644)
	// Its messages go through a pipe, which the limit is not for.
	l := s.start("gracewatch.log", "sh", "-c", `ulimit -H -f unlimited; (prlimit --fsize=50:unlimited -- "$@"; echo "exit $?") 2>&1 | cat`, "sh",
		"gracewatch", "-s", fmt.Sprint(soft), "-g", "200ms", "-i", "50ms", "-f", "state", p.ID.String(), "./prog")
	l.event("msg=watching", 1)
	s.grow(p, j)
	l.event("msg=restart-done", 1)
	l.event("exit 0", 1)
	l.times("cannot keep the state", 1)
}

// Where nothing can be written, as on a read-only file system, a restart that had begun is still gone on with.
func TestAStateThatCanBeReadAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.need("unshare", "-m", "true")
	boot, err := proc.Boot()
	s.must(err)
	p, j := s.alone()
	s.write("disk/state", snapshot(boot, p.ID.String(), p.ID.String(),
		grace.State{Over: true, Since: 1, GraceOver: true, Restarting: true, Reason: grace.Soft}, grace.Backoff{}), 0o600)
	l := s.start("gracewatch.log", "unshare", "-m", "sh", "-c", `mount --bind disk disk; mount -o remount,ro,bind disk; exec gracewatch "$@"`,
		"sh", "-s", fmt.Sprint(soft), "-g", "1h", "-f", "disk/state", p.ID.String(), "worker", "restart", j.file)
	l.exits(0)
	l.event("msg=restart-done", 1)
	l.times("cannot keep the state", 1)
}

// Two gracewatches for one service would restart it twice: the second is refused.
func TestASecondGracewatchIsRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	first := s.watch(target.dir, "-g 0 -i 50ms", j.restarter())
	first.event("msg=watching", 1)
	second := s.start("second.log", "gracewatch", "-s", fmt.Sprint(soft), "-g", "0", "-i", "50ms", target.dir, "worker", "restart", j.file)
	second.exits(111)
	second.event("locked by another gracewatch", 1)
	second.never("msg=watching")
	p := target.running(proc.ID{})
	s.grow(p, j)
	first.event("msg=restart-done", 1)
	j.restartedOnce(p.ID)
	s.must(first.Signal(unix.SIGKILL)) // and as soon as it is gone
	<-first.code
	third := s.start("third.log", "gracewatch", "-s", fmt.Sprint(soft), target.dir, "true")
	third.event("msg=watching", 1)
}
