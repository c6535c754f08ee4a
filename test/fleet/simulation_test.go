package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
)

// size of the fleet.
const size = 300

// Whatever its watchers do, and whichever of them or of the instances crash: the number of instances that take jobs
// never falls under what must stay, no queue is left to nobody, and every instance has its turn in the end.
func TestNeverFewer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		minPeers int
		queues   func(number int) []string
	}{{1, manyQueues}, {10, manyQueues}, {299, fewQueues}} {
		t.Run(fmt.Sprintf("min=%d", test.minPeers), func(t *testing.T) {
			t.Parallel()
			s := newSimulation(t, test.minPeers, test.queues)
			s.start()
			s.until("every instance has had its turn", func() bool { return s.waiting.Load() == 0 })
			calm := s.asked.Load()
			close(s.storm)
			s.until("20 instances have died", func() bool { return s.died.Load() >= 20 })
			granted := s.granted.Load()
			s.until("claims are given after that", func() bool { return s.granted.Load() > granted })
			s.end()
			s.checkObservers()
			t.Logf("asked %d times (%d while instances died), by the binary %d times; %d claims, %d failed restarts, %d forgotten, %d begun again, %d unfinished",
				s.asked.Load(), s.asked.Load()-calm, s.byBinary.Load(), s.granted.Load(), s.failed.Load(), s.forgotten.Load(), s.again.Load(), s.unfinished.Load())
		})
	}
}

// manyQueues are served by some of the instances each. The last instance is the only one for its queue.
func manyQueues(number int) []string {
	switch {
	case number == size-1:
		return []string{"default", "lonely"}
	case number%25 == 3:
		return []string{"rare", "low"}
	case number%10 == 1:
		return []string{"mailers"}
	case number%10 == 2:
		return []string{"mailers", "default"}
	}
	return []string{"default", "low"}
}

// fewQueues: every instance can do something for every other.
func fewQueues(number int) []string {
	switch {
	case number%100 == 3:
		return []string{"default", "rare"}
	case number%2 == 0:
		return []string{"default", "low"}
	}
	return []string{"default"}
}

// A simulation is a fleet, and a watcher for each instance.
type simulation struct {
	*testing.T
	redis     *server
	minPeers  int
	instances []*instance
	count     *count

	storm    chan struct{} // closed: instances die from here on
	stop     chan struct{}
	watchers sync.WaitGroup
	first    sync.WaitGroup // of them: that have not asked yet
	waiting  atomic.Int64   // for their first turn
	door     chan struct{}  // so many ask at once after the first time, else a busy machine has 300 questions before each answer

	asked, byBinary, granted, failed, forgotten, again, unfinished, died atomic.Int64
}

func newSimulation(t *testing.T, minPeers int, queues func(number int) []string) *simulation {
	t.Helper()
	s := &simulation{T: t, redis: newServer(t), minPeers: minPeers, count: newCount(minPeers),
		storm: make(chan struct{}), stop: make(chan struct{}), door: make(chan struct{}, 3)}
	for i := range size {
		in := newInstance(s.redis, i, queues(i)...)
		s.instances = append(s.instances, in)
		s.count.starts(in)
		if err := in.boot(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// start starts all watchers, and the hearts.
func (s *simulation) start() {
	s.first.Add(size)
	var all []*watcher
	for i, in := range s.instances {
		w := &watcher{simulation: s, in: in, name: fmt.Sprintf("watcher%d", i), rand: rand.New(rand.NewPCG(*seed, uint64(size+i))),
			fleet: s.redis.fleet(), external: i%20 == 7, lonely: in.queues[len(in.queues)-1] == "lonely"}
		if !w.lonely {
			s.waiting.Add(1)
		}
		all = append(all, w)
	}
	for _, w := range all { // at once
		s.watchers.Go(w.watch)
	}
	for some := range slices.Chunk(s.instances, size/10) {
		s.watchers.Go(func() { s.beat(some) })
	}
	s.Cleanup(s.end)
}

// beat is the hearts of some.
func (s *simulation) beat(some []*instance) {
	for !s.over() {
		for _, in := range some {
			s.must(in.beat())
		}
		select {
		case <-s.stop:
		case <-time.After(time.Second):
		}
	}
}

func (s *simulation) over() bool { return closed(s.stop) }

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *simulation) end() {
	if !s.over() {
		close(s.stop)
	}
	s.watchers.Wait()
}

func (s *simulation) must(err error) {
	if err != nil && !s.over() {
		s.Error(err)
	}
}

// until waits as long as the test may take: on a starved machine a few hundred restarts in turn take minutes.
func (s *simulation) until(what string, cond func() bool) {
	s.Helper()
	begun := time.Now()
	deadline, ok := s.Deadline()
	if deadline = deadline.Add(-time.Minute); !ok {
		deadline = begun.Add(patience)
	}
	for ; !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("after %v still not: %s (%d instances wait for their turn, %d claims of %d)", time.Since(begun), what,
				s.waiting.Load(), s.granted.Load(), s.asked.Load())
		}
		if s.Failed() || s.count.wrong() { // what comes now may never end
			s.end()
			s.checkObservers()
			s.FailNow()
		}
	}
}

// checkObservers fails the test if one of the observers has seen a fault.
func (s *simulation) checkObservers() {
	s.Helper()
	h := newHistorian(s.minPeers)
	h.read(s.redis.history())
	for i, fault := range append(h.faults, s.count.faults...) {
		if i == 10 {
			s.Fatal("and more")
		}
		s.Error(fault)
	}
	s.Logf("history: %d claims, %d of them with no more left than must stay, %d deaths, at least %d available; at least %d took jobs",
		h.grants, h.tight, h.deaths, h.lowest, s.count.lowest)
	if h.grants == 0 || int64(h.grants) != s.granted.Load() {
		s.Errorf("the history has %d claims, the watchers %d", h.grants, s.granted.Load())
	}
	if h.tight == 0 {
		s.Error("it never came to the least that must stay: that proves nothing")
	}
	if all, err := s.redis.fleet().All(); err != nil || len(all) < size {
		s.Errorf("%d instances at the end, want %d: %v", len(all), size, err)
	}
}

// A watcher is what runs beside an instance, and wants to restart it, over and over.
type watcher struct {
	*simulation
	in       *instance
	name     string
	rand     *rand.Rand
	fleet    *fleet.Fleet // a connection of its own
	external bool         // asks through the program, a process each time
	lonely   bool         // never has its turn
	turns    int
}

func (w *watcher) watch() {
	given := w.claim(w.name)
	w.first.Done()
	w.first.Wait() // nobody comes back before all have asked: so many are claimed as can be
	if given {
		w.restart()
	}
	for !w.over() {
		w.pause()
		if closed(w.storm) && w.rand.IntN(30) == 0 {
			w.die()
			continue
		}
		switch w.rand.IntN(40) {
		case 0: // it crashes right after the claim, and has forgotten it: nobody can restart this instance for a while
			if w.ask(strings.Replace(w.name, "watcher", "forgetful", 1)) {
				w.forgotten.Add(1)
			}
		case 1, 2: // the restart fails before the instance got a signal
			if w.ask(w.name) {
				w.failed.Add(1)
				w.must(w.release())
			}
		case 3: // the instance dies before its restart begins
			if closed(w.storm) && w.ask(w.name) {
				w.die()
			}
		default:
			if w.ask(w.name) {
				w.restart()
			}
		}
	}
}

// pause is such that Redis always has something to answer, most of it to those that have not had their turn.
func (w *watcher) pause() {
	waiting, wake := int(w.waiting.Load()), w.storm
	among, each := waiting, 8*time.Millisecond
	if closed(w.storm) {
		among, wake = size, nil
	} else if w.turns > 0 {
		among, each = size-waiting, 120*time.Millisecond
	}
	most := each * time.Duration(max(among, 1))
	if w.external {
		most = max(most, 100*time.Millisecond)
	}
	w.sleep(most, wake)
}

// sleep is cut short at the end, and when what may wake it comes.
func (w *watcher) sleep(most time.Duration, wake chan struct{}) {
	select {
	case <-time.After(time.Duration(w.rand.Int64N(int64(most)))):
	case <-wake:
	case <-w.stop:
	}
}

// ask claims when its turn to ask comes.
func (w *watcher) ask(by string) bool {
	w.door <- struct{}{}
	defer func() { <-w.door }()
	return w.claim(by)
}

func (w *watcher) claim(by string) bool {
	if w.over() {
		return false
	}
	w.asked.Add(1)
	ask := w.askHere
	if w.external {
		w.byBinary.Add(1)
		ask = w.askProgram
	}
	given, err := ask(by)
	w.must(err)
	if given {
		w.granted.Add(1)
		if w.lonely {
			w.Errorf("%s was claimed, the only one that serves its queue", w.in.identity)
		}
	}
	return given
}

func (w *watcher) askHere(by string) (bool, error) {
	w.fleet.Begin()
	_, err := w.fleet.Claim(fleet.Request{Identities: []string{w.in.identity}, Holder: by, MinPeers: w.minPeers, TTL: ttlOf(by)})
	if errors.Is(err, fleet.ErrNotNow) || errors.Is(err, fleet.ErrUnsatisfiable) {
		return false, nil
	}
	return err == nil, err
}

func (w *watcher) askProgram(by string) (bool, error) {
	c := exec.Command("sidekiq-fleet", "--timeout", patience.String(), "claim", "--min", fmt.Sprint(w.minPeers), "--ttl", ttlOf(by).String(),
		"--as", by, w.in.identity)
	c.Env = append(os.Environ(), "REDIS_URL="+w.redis.url())
	var stderr bytes.Buffer
	c.Stderr = &stderr
	err := c.Run()
	if c.ProcessState != nil && c.ProcessState.ExitCode() == cli.NotNow {
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", c.Args, err, &stderr)
	}
	return err == nil, err
}

func (w *watcher) release() error {
	w.fleet.Begin()
	return w.fleet.Release(w.in.identity)
}

// away is how long an instance may be away: few may be at once where many must stay.
func (w *watcher) away() time.Duration {
	return time.Duration(1+size-w.minPeers) * time.Millisecond
}

// restart is that of an instance that was claimed. Its next process has another identity.
func (w *watcher) restart() {
	w.count.stops(w.in)
	w.in.tstp()
	if w.rand.IntN(8) == 0 { // the watcher crashes once more; the next one finds a quiet instance and its claim
		w.must(w.in.beat())
		w.again.Add(1)
		if !w.ask(w.name) && !w.over() {
			w.Errorf("%s is quiet, and its restart is not allowed to go on", w.in.identity)
		}
	}
	w.sleep(w.away(), nil)
	if w.rand.IntN(16) == 0 { // it fails: the claim is given back, the instance stays quiet until another one is given
		w.unfinished.Add(1)
		w.must(w.in.beat())
		w.must(w.release())
		for !w.ask(w.name) && !w.over() {
			w.pause()
		}
	}
	w.must(w.in.exit(w.rand.IntN(4) == 0))
	w.sleep(w.away(), nil)
	w.boot()
	if w.turns++; w.turns == 1 {
		w.waiting.Add(-1)
	}
}

// die is KILL from elsewhere. Whether the next process is there before Redis knows of the death is left to chance.
func (w *watcher) die() {
	w.died.Add(1)
	w.count.dies(w.in)
	w.must(w.in.die())
	dead := w.in.identity
	know := func() { w.sleep(30*time.Millisecond, nil); w.must(w.in.late(dead)); w.sleep(30*time.Millisecond, nil) }
	if w.rand.IntN(2) == 0 {
		know()
		w.boot()
		return
	}
	w.boot()
	know()
}

func (w *watcher) boot() {
	w.count.starts(w.in)
	w.must(w.in.boot())
}
