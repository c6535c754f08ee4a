package fault

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/test/harness"
)

// Killed at 200 random moments of a cycle of grow, grace, quiet and stop, gracewatch goes on where it was: no process is
// left quiet, each is restarted when it is due, and once.
func TestKilledAtAnyMomentItGoesOn(t *testing.T) {
	t.Parallel()
	const slots, kills = 25, 8
	s := newStage(t)
	var all sync.WaitGroup
	for slot := range slots {
		random := rand.New(rand.NewPCG(uint64(slot), 3))
		all.Go(func() {
			// The third instance that grows at once has a limit that is too low, and waits: a service has two cycles.
			for round, left := 0, kills; left > 0 && !s.Failed(); round++ {
				left -= s.twoCycles(fmt.Sprintf("w%d-%d", slot, round), random, left)
			}
		})
	}
	all.Wait()
}

const graceTime = 600 * time.Millisecond

// twoCycles has a new service restarted twice, kills its gracewatch up to so many times meanwhile and returns how often it
// did.
func (s *stage) twoCycles(name string, random *rand.Rand, most int) (kills int) {
	target, j := s.worker(name, "-after 200ms")
	watcher, _ := s.watched(name+"-watch", target, fmt.Sprintf("-g %v -i 50ms -r 200ms", graceTime), j.restarter("-quiet 300ms"))
	defer target.Exit()
	defer watcher.Exit()
	var last harness.Process
	for kills < most && len(j.of("START")) < 3 {
		last = watcher.Runsv.Running(last)
		time.Sleep(time.Duration(random.Int64N(int64(1300 * time.Millisecond)))) // the fault itself, not a wait
		if last.Signal(unix.SIGKILL) == nil {
			kills++
		}
	}
	s.Eventually(name+" is restarted after the last kill", func() bool { return len(j.of("START")) >= 3 })
	s.Eventually(name+" runs", func() bool { return strings.HasPrefix(target.Stat(), "run") })
	s.Logf("%s: %d kills, the latest restart by %v", name, kills, s.checkRestarts(name, j.entries()).Round(time.Millisecond))
	return kills
}

// checkRestarts compares a journal with the contract: each of the first two processes is restarted once, not before its grace
// time has expired, and quiet before it ends. It returns how late the latest restart was.
func (s *stage) checkRestarts(name string, entries []entry) (latest time.Duration) {
	s.Helper()
	type life struct{ grows, restart, quiet, end time.Duration }
	lives := map[string]*life{}
	var order []string
	for _, e := range entries {
		if lives[e.id] == nil {
			lives[e.id] = &life{}
			order = append(order, e.id)
		}
		of := lives[e.id]
		switch e.event {
		case "GROWS":
			of.grows = e.at
		case "RESTART":
			if of.restart > 0 {
				s.Errorf("%s: %v is restarted twice", name, e.id)
			}
			of.restart = e.at
		case "QUIET":
			of.quiet = e.at
		case "END":
			of.end = e.at
		}
	}
	for _, id := range order[:2] {
		of := lives[id]
		late := of.restart - of.grows - graceTime
		switch {
		case of.restart == 0:
			s.Errorf("%s: %v ended without a restart", name, id)
		case of.grows == 0 || late < 0:
			s.Errorf("%s: %v is restarted %v before it is due", name, id, -late)
		case of.quiet == 0 || of.end < of.quiet:
			s.Errorf("%s: %v was not quiet before it ended", name, id)
		case late > harness.Patience:
			s.Errorf("%s: %v is restarted %v late", name, id, late)
		}
		latest = max(latest, late)
	}
	return latest
}

// Its program that hangs gets TERM when --prog-timeout is over and then KILL, with its whole group; that is a failed
// restart, and is tried again.
func TestAProgramThatHangsIsEndedAndRunAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	prog := s.Script("prog", "trap '' TERM; sleep 1h & sleep 1h\n")
	_, l := s.watched("watch", target, "-g 0 -i 50ms -r 300ms --prog-timeout 500ms", prog)
	p := target.Running()
	s.grow(p, j)
	l.Line("prog-timeout 500ms: sending TERM to its group", 1)
	s.Script("prog", "exec "+j.restarter()+"\n")
	l.Line("prog-timeout 500ms: sending KILL to its group", 1)
	l.Line("msg=restart-failed", 1)
	l.Line("msg=restart-done", 1)
	target.Running(p)
	if left := harness.ProcessesOf("GRACE_TARGET="+p.ID(), s.Path("nowhere"), nil); len(left) > 0 {
		s.Errorf("left of the program: %v", left[0])
	}
}
