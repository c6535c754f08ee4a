package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// size is the number of instances in the simulation.
const size = 60

// Each of 60 instances has a watcher that restarts it over and over. All ask at once, and crash at any point. The number
// of instances that take jobs never falls below what must stay, no queue is left without a server, and every instance is
// restarted as often as it should.
func TestNeverFewer(t *testing.T) {
	for _, c := range []struct{ minPeers, restarts int }{{1, 10}, {10, 10}, {size - 1, 1}} {
		t.Run(fmt.Sprint(c.minPeers), func(t *testing.T) {
			t.Parallel()
			s := &simulation{server: startRedis(t), minPeers: c.minPeers, restarts: c.restarts, serving: map[string]int{}, stop: make(chan struct{})}
			s.first.Add(size)
			s.waiting.Store(size)
			var all sync.WaitGroup
			defer all.Wait()
			defer close(s.stop)
			var watchers []*watcher
			for i := range size {
				queues := fmt.Sprintf(`"default","q%d"`, i%(size/3)) // three instances serve each of the others
				w := &watcher{simulation: s, number: i, queues: queues, fleet: s.fleet(), rand: rand.New(rand.NewPCG(1, uint64(i)))}
				w.boot()
				watchers = append(watchers, w)
			}
			all.Go(s.keepAlive)
			for _, w := range watchers {
				all.Go(w.watch)
			}
			s.Eventually("all restarts are done", func() bool { return s.waiting.Load() == 0 || s.Failed() })
			if !s.tight.Load() {
				t.Error("it never came to the least that must stay: this proves nothing")
			}
		})
	}
}

// simulation knows which instances take jobs, from their watchers and not from Redis.
type simulation struct {
	*server
	minPeers int
	restarts int            // of each instance
	first    sync.WaitGroup // of the watchers that have not asked yet
	stop     chan struct{}  // closed: the end

	mu      sync.Mutex
	taking  int
	serving map[string]int // by queue

	waiting atomic.Int64 // the watchers whose restarts are not done
	tight   atomic.Bool  // it has come to the least that must stay
}

// begins is an instance that takes jobs from now on.
func (s *simulation) begins(queues string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking++
	for queue := range strings.SplitSeq(queues, ",") {
		s.serving[queue]++
	}
}

// ends is an instance that takes no jobs any more.
func (s *simulation) ends(queues string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking--
	if s.taking < s.minPeers {
		s.Errorf("%d instances take jobs, want %d", s.taking, s.minPeers)
	}
	tight := s.taking == s.minPeers
	for queue := range strings.SplitSeq(queues, ",") {
		s.serving[queue]--
		if s.serving[queue] == 0 {
			s.Errorf("no instance serves %s", queue)
		}
		tight = tight || s.serving[queue] == 1
	}
	if tight {
		s.tight.Store(true)
	}
}

// keepAlive renews the hashes, as heartbeats do.
func (s *simulation) keepAlive() {
	for s.pauses(time.Second) {
		s.check(s.redis.Eval(context.Background(), `for _, id in ipairs(redis.call('SMEMBERS', 'processes')) do redis.call('EXPIRE', id, 60) end`, nil).Err())
	}
}

// pauses returns false at the end.
func (s *simulation) pauses(d time.Duration) bool {
	select {
	case <-s.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// check is for any goroutine. A script that returns nothing is redis.Nil.
func (s *simulation) check(err error) {
	if err != nil && err != redis.Nil {
		s.Error(err)
	}
}

// watcher restarts its instance over and over.
type watcher struct {
	*simulation
	number   int
	queues   string
	fleet    *Fleet
	rand     *rand.Rand
	done     int // restarts
	identity string
}

// boot is a new process, which has an identity of its own.
func (w *watcher) boot() {
	w.identity = fmt.Sprintf("host%d:%d:%012x", w.number, w.done+1, w.number)
	w.begins(w.queues)
	_, err := w.redis.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
		writeHeartbeat(p, w.identity, w.queues)
		return nil
	})
	w.check(err)
}

func (w *watcher) watch() {
	given := w.claim(w.holder(), time.Hour)
	w.first.Done()
	w.first.Wait() // as many are claimed as can be
	if given {
		w.restart()
	}
	for w.pauses(w.interval()) {
		switch w.rand.IntN(20) {
		case 0: // it crashes after the claim, and has forgotten it
			w.claim("forgetful "+w.holder(), 100*time.Millisecond)
		case 1: // the restart fails before a signal was sent
			if w.claim(w.holder(), time.Hour) {
				w.release()
			}
		default:
			if w.claim(w.holder(), time.Hour) {
				w.restart()
			}
		}
	}
}

func (w *watcher) holder() string { return fmt.Sprint("watcher ", w.number) }

// interval is short until all restarts are done, so that those that wait for theirs ask more often than others.
func (w *watcher) interval() time.Duration {
	if w.done >= w.restarts {
		return w.atMost(800 * time.Millisecond)
	}
	return w.atMost(40 * time.Millisecond)
}

func (w *watcher) atMost(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d)))
}

func (w *watcher) claim(holder string, ttl time.Duration) bool {
	w.fleet.Begin()
	_, err := w.fleet.Claim(Request{Identities: []string{w.identity}, Holder: holder, MinPeers: w.minPeers, TTL: ttl})
	if errors.Is(err, ErrNotNow) || errors.Is(err, ErrUnsatisfiable) {
		return false
	}
	w.check(err)
	return true
}

func (w *watcher) release() {
	w.fleet.Begin()
	w.check(w.fleet.Release(w.identity))
}

// restart is that of a claimed instance.
func (w *watcher) restart() {
	ctx := context.Background()
	w.ends(w.queues)
	w.check(w.redis.HSet(ctx, w.identity, "quiet", "true").Err())
	switch w.rand.IntN(8) {
	case 0: // the watcher crashes; the next one finds a quiet instance and its claim
		if !w.claim(w.holder(), time.Hour) {
			w.Errorf("%s is quiet, and its restart is not allowed to go on", w.identity)
		}
	case 1: // the restart fails half way: the claim is released, and the instance stays quiet until another is granted
		w.release()
		for !w.claim(w.holder(), time.Hour) {
			if !w.pauses(w.interval()) {
				return
			}
		}
	}
	w.pauses(w.atMost(3 * time.Millisecond))
	if w.rand.IntN(4) > 0 { // a heartbeat of Sidekiq 6 may come after its end: then it is in the list again, quiet
		w.check(w.redis.SRem(ctx, "processes", w.identity).Err())
	}
	w.pauses(w.atMost(3 * time.Millisecond))
	if w.done++; w.done == w.restarts {
		w.waiting.Add(-1)
	}
	w.boot()
}
