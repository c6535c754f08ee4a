package fault

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/test/harness"
)

// A stage is a world with workers, and gracewatches over them.
type stage struct{ *harness.World }

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{harness.New(t)}
	s.Need("runsv")
	return s
}

// A service is one under a real runsv.
type service struct {
	*harness.Runsv
	s *stage
}

// service starts one whose run script ends in that command; its output goes to NAME.log.
func (s *stage) service(name, command string) *service {
	s.Helper()
	s.Script(name+"/run", "exec >>"+s.Path(name+".log")+" 2>&1\n"+command+"\n")
	return &service{s.Runsv(s.Path(name)), s}
}

// Running waits until it is not the shell before its exec: who is killed then never was what is meant.
func (v *service) Running(not ...harness.Process) (p harness.Process) {
	v.s.Helper()
	v.s.Eventually(v.Dir+" has become its program", func() bool {
		p = v.Runsv.Running(not...)
		return strings.TrimSpace(p.File("comm")) != "run"
	})
	return p
}

// An entry is a line of a worker's journal.
type entry struct {
	at    time.Duration // of CLOCK_BOOTTIME
	event string
	id    string
}

// A journal is what has happened to a worker and its successors.
type journal struct {
	s    *stage
	file string
}

func (s *stage) journal(name string) journal {
	s.Show(name)
	return journal{s, s.Path(name)}
}

func (j journal) entries() (list []entry) {
	text, _ := os.ReadFile(j.file)
	for line := range strings.Lines(string(text)) {
		var e entry
		var ns int64
		if _, err := fmt.Sscan(line, &ns, &e.event, &e.id); err != nil {
			j.s.Fatalf("journal: %q: %v", line, err)
		}
		e.at = time.Duration(ns)
		list = append(list, e)
	}
	return list
}

// of are the entries of one event.
func (j journal) of(event string) (list []entry) {
	for _, e := range j.entries() {
		if e.event == event {
			list = append(list, e)
		}
	}
	return list
}

// event waits for the nth of that event.
func (j journal) event(event string, nth int) (e entry) {
	j.s.Helper()
	j.s.Eventually(fmt.Sprintf("%s for the %d. time", event, nth), func() bool {
		list := j.of(event)
		if len(list) >= nth {
			e = list[nth-1]
		}
		return len(list) >= nth
	})
	return e
}

// restartedOnce is for the end of a test: one restart, of that process, and nothing has come to any other.
func (j journal) restartedOnce(id string) {
	j.s.Helper()
	if n := len(j.of("RESTART")); n != 1 {
		j.s.Errorf("%d restarts, not 1", n)
	}
	for _, e := range j.entries() {
		if e.id != id && (e.event == "RESTART" || e.event == "QUIET" || e.event == "END") {
			j.s.Errorf("%v got %s", e.id, e.event)
		}
	}
}

const (
	soft  = 30000 // KB, well above a worker's own size
	large = 40000 // KB, what a worker grows by
)

// worker is a service that grows by USR2, or after a while, and its journal. It runs: a gracewatch that is started then
// logs no target-up before the first restart.
func (s *stage) worker(name string, flags ...string) (*service, journal) {
	s.Helper()
	j := s.journal(name + ".journal")
	v := s.service(name, fmt.Sprintf("exec worker serve -max %d %s %s", large, strings.Join(flags, " "), j.file))
	v.Running()
	return v, j
}

// restarter is the program that restarts a worker.
func (j journal) restarter(flags ...string) string {
	return fmt.Sprintf("worker restart %s %s", strings.Join(flags, " "), j.file)
}

// watched is a gracewatch under runsv: it comes back when it is killed.
func (s *stage) watched(name string, target *service, options, restarter string) (*service, *harness.Log) {
	s.Helper()
	v := s.service(name, fmt.Sprintf("exec gracewatch -s %d %s %s %s", soft, options, target.Dir, restarter))
	return v, s.Follow(s.Path(name + ".log"))
}

// watch is a gracewatch that the test starts itself.
func (s *stage) watch(target, options, restarter string) *harness.Log {
	s.Helper()
	return s.Gracewatch(slices.Concat([]string{"-s", fmt.Sprint(soft)}, strings.Fields(options), []string{target}, strings.Fields(restarter))...)
}

// mounted is a gracewatch over a process, in a mount namespace of its own in which a script has mounted something.
func (s *stage) mounted(script string, target harness.Process, options, restarter string) *harness.Log {
	s.Helper()
	s.NeedThat("unshare", "-m", "true")
	argv := []string{"-m", "sh", "-c", script + `; exec gracewatch "$@"`, "sh", "-s", fmt.Sprint(soft)}
	return s.Watch(s.Command("unshare", slices.Concat(argv, strings.Fields(options), []string{target.ID()}, strings.Fields(restarter))...))
}

// inMountsOf runs a script in the mount namespace of a gracewatch, and returns what it prints.
func (s *stage) inMountsOf(l *harness.Log, script string) string {
	s.Helper()
	return s.Run("nsenter", "-t", fmt.Sprint(l.PID), "-m", "sh", "-c", "cd "+s.Dir+"; "+script).Stdout
}

// grow makes a worker large, or is on its way to that: it may be killed before.
func (s *stage) grow(p harness.Process, j journal) {
	s.Helper()
	s.Eventually("it has started", func() bool { // before that it has no handler
		for _, e := range j.of("START") {
			if e.id == p.ID() {
				return true
			}
		}
		return false
	})
	n := len(j.of("GROWS"))
	s.Check(p.Signal(unix.SIGUSR2))
	j.event("GROWS", n+1)
}
