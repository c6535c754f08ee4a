package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const everywhere = `"default","low"`

func request(identity string) Request {
	return Request{Identities: []string{identity}, Holder: "web-1", MinPeers: 1, TTL: time.Hour}
}

// wants claims, and compares the error: "" is granted.
func (s *server) wants(f *Fleet, r Request, want string) {
	s.Helper()
	_, err := f.Claim(r)
	if got := fmt.Sprint(err); err == nil && want != "" || err != nil && (want == "" || got != want) {
		s.Errorf("%+v:\n got %v\nwant %s", r, err, want)
	}
	if err == nil && s.mark(r.Identities[0]) == "" {
		s.Errorf("%+v: granted, and not marked", r)
	}
}

// few is the error where there are not as many others, whatever happens to them.
func few(f *Fleet, identity string, peers, needed, otherQueues int) string {
	return fmt.Sprintf("%s: not possible: %d of %d other instances needed serve its queues in %s (of other queues: %d): start more, "+
		"or need only %d (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)", identity, peers, needed, f.Where(), otherQueues, peers)
}

func TestClaimsLeaveOne(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(3, everywhere)
	s.wants(f, request(ids[0]), "")
	s.wants(f, request(ids[1]), "")
	s.wants(f, request(ids[2]), ids[2]+": not now: 0 of 1 other instances needed are available; waiting for "+ids[0]+" (claimed), "+ids[1]+" (claimed)")
	if s.mark(ids[2]) != "" {
		t.Error("marked, though it was refused")
	}
	if err := f.Release(ids[0]); err != nil || s.mark(ids[0]) != "" {
		t.Error(err)
	}
	s.wants(f, request(ids[2]), "")
}

// While a restarted instance has exited and its successor has not started, Redis knows nothing of either.
func TestTheSuccessorOfARestartedInstanceIsWaitedFor(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[0]), "")
	s.do("SREM", "processes", ids[0])
	s.do("DEL", ids[0])
	s.wants(f, request(ids[1]), ids[1]+": not now: 0 of 1 other instances needed are available; waiting for the successor of "+ids[0])
	s.do("DEL", "gracekit:restarts") // as it is when that takes too long
	s.wants(f, request(ids[1]), few(f, ids[1], 0, 1, 0))
}

func TestSoManyMustStay(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(3, everywhere)
	for _, c := range []struct {
		least, given int
	}{{0, 3}, {1, 2}, {2, 1}, {3, 0}, {1000000, 0}} {
		given := 0
		for _, id := range ids {
			r := request(id)
			r.MinPeers = c.least
			if _, err := f.Claim(r); err == nil {
				given++
			} else if !errors.Is(err, ErrNotNow) && !errors.Is(err, ErrUnsatisfiable) {
				t.Error(err)
			}
		}
		if given != c.given {
			t.Errorf("--min %d: %d of 3 given, want %d", c.least, given, c.given)
		}
		for _, id := range ids {
			f.Release(id)
		}
	}
}

func TestOthersThatDoNotCount(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me := s.beats(1, everywhere)[0]
	now := func(ago float64) string { return fmt.Sprintf("%f", float64(time.Now().UnixMilli())/1e3-ago) }
	s.beat(identity(2), everywhere, "quiet", "true")
	s.beat(identity(3), everywhere, claimField, "99999999999999 web-2")
	s.beat(identity(4), everywhere, "beat", now(31))
	s.beat(identity(6), `"other"`)
	s.wants(f, request(me), me+": not now: 0 of 1 other instances needed are available; waiting for "+identity(2)+" (quiet), "+identity(3)+" (claimed), "+
		identity(4)+" (no heartbeat)")
	s.beat(identity(5), everywhere)
	s.do("PEXPIRE", identity(5), 29000)
	s.do("SADD", "processes", identity(7))
	if _, err := f.Claim(request(me)); err == nil || !strings.HasSuffix(err.Error(), ") and 2 more") {
		t.Error(err)
	}
	s.until("a claim while the heartbeat of another is 25 s old", func() bool { // and not 30 s, on a busy machine
		s.beats(1, everywhere)
		s.beat(identity(8), everywhere, "beat", now(25))
		_, err := f.Claim(request(me))
		return err == nil
	})
}

func TestQueuesAreServedBetweenTheOthers(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me := identity(1)
	s.beat(me, `"a","b","c"`)
	s.beat(identity(2), `"a","x"`)
	s.beat(identity(3), `"x","y"`)
	nobody := func(queues string) string {
		return me + ": not possible: no other instance in " + f.Where() + " serves " + queues +
			": start one that does, or set SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES if these queues need no other server"
	}
	s.wants(f, request(me), nobody("b, c"))
	s.beat(identity(4), `"c"`)
	s.wants(f, request(me), nobody("b"))
	r := request(me)
	r.MinPeers = 3
	s.wants(f, r, few(f, me, 2, 3, 1))
	s.beat(identity(5), `"c","b"`)
	s.wants(f, r, "")
}

func TestAnyQueue(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me := identity(1)
	s.beat(me, `"a"`)
	s.beat(identity(2), `"b"`)
	r := request(me)
	s.wants(f, r, few(f, me, 0, 1, 1))
	r.AnyQueue = true
	s.wants(f, r, "")
	f.Release(me)
	r.MinPeers = 2
	s.wants(f, r, few(f, me, 1, 2, 0))
}

func TestNoQueueNeedsToBeServedWhereNobodyMustStay(t *testing.T) {
	s := startRedis(t)
	me := identity(1)
	s.beat(me, `"a"`)
	r := request(me)
	r.MinPeers = 0
	s.wants(s.fleet(), r, "")
}

func TestOneClaims(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	r := request(ids[0])
	s.wants(f, r, "")
	other := r
	other.Holder = "web-2"
	_, err := f.Claim(other)
	if !errors.Is(err, ErrNotNow) || !strings.HasPrefix(err.Error(), ids[0]+": not now: claimed by web-1, for another ") {
		t.Error(err)
	}
	s.wants(f, r, "") // the same one may again
	if !strings.HasSuffix(s.mark(ids[0]), " web-1") {
		t.Error(s.mark(ids[0]))
	}
}

// A restart that had begun goes on, whatever became of the others: else the instance were quiet for good.
func TestBegunRestartGoesOn(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[0]), "")
	s.do("DEL", ids[1])
	none := ids[0] + ": not now: 0 of 1 other instances needed are available; waiting for " + ids[1] + " (no heartbeat)"
	s.wants(f, request(ids[0]), none) // it takes jobs
	s.do("HSET", ids[0], "quiet", "true")
	s.wants(f, request(ids[0]), "")
	s.do("HSET", ids[0], claimField, "1 web-1") // its mark has expired meanwhile
	s.wants(f, request(ids[0]), "")
	s.do("HSET", ids[0], claimField, "1 web-2") // somebody else's had
	s.wants(f, request(ids[0]), none)
	s.do("HDEL", ids[0], claimField) // quiet by somebody's hand
	s.wants(f, request(ids[0]), none)
}

func TestClaimExpires(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	r := request(ids[0])
	r.TTL = 50 * time.Millisecond
	s.wants(f, r, "")
	s.until("the end of the claim", func() bool {
		_, err := f.Claim(request(ids[1]))
		return err == nil
	})
	if in, err := f.One(ids[0]); err != nil || in.State() != Running {
		t.Error(in, err)
	}
}

func TestClaimIsGoneWithTheInstance(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[0]), "")
	if ttl := s.do("TTL", ids[0]).(int64); ttl < 0 || ttl > 60 {
		t.Errorf("the mark changed the lifetime of the hash: %d", ttl)
	}
	s.do("DEL", ids[0])
	s.beat(ids[0], everywhere) // whoever has that identity next
	s.wants(f, request(ids[1]), "")
}

func TestNoSuchInstance(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	s.beats(1, everywhere)
	id := identity(7)
	absent := id + ": no such instance in Redis at " + s.socket
	s.wants(f, request(id), absent)
	s.beat(id, everywhere)
	s.do("SREM", "processes", id) // it ended, and its hash is left
	s.wants(f, request(id), absent)
	if n := s.do("HEXISTS", id, claimField).(int64); n != 0 {
		t.Error("marked")
	}
	for what, err := range map[string]error{"release": f.Release(identity(8)), "signal": f.Signal(id, "TERM")} {
		if !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDeadInstance(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.do("DEL", ids[0])
	dead := ids[0] + ": no heartbeat for more than 1m0s"
	s.wants(f, request(ids[0]), dead)
	if s.do("EXISTS", ids[0]).(int64) != 0 {
		t.Error("written")
	}
	s.beat(ids[0], everywhere, "beat", fmt.Sprintf("%d", time.Now().Unix()-900))
	_, err := f.Claim(request(ids[0]))
	if !errors.Is(err, ErrDead) || !strings.Contains(err.Error(), "no heartbeat for 9") || s.mark(ids[0]) != "" {
		t.Error(err)
	}
	if err := f.Signal(ids[0], "TERM"); !errors.Is(err, ErrDead) {
		t.Error(err)
	}
	if s.do("EXISTS", ids[0]+"-signals").(int64) != 0 {
		t.Error("signalled")
	}
}

// A claim of one that is silent now is given back all the same: it may come to itself.
func TestSilentInstanceIsReleased(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[0]), "")
	s.do("HSET", ids[0], "beat", "1000000200")
	if err := f.Release(ids[0]); err != nil || s.mark(ids[0]) != "" {
		t.Error(err, s.mark(ids[0]))
	}
}

// Whatever is in Redis: it counts for nothing, and is in nobody's way.
func TestHostileData(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me := identity(1)
	info := func(text string) []any { return []any{"info", text} }
	hostile := 0
	add := func(fields ...any) {
		hostile++
		s.beat(identity(100+hostile), everywhere, fields...)
	}
	for _, text := range []string{"", "x", "null", "[]", "7", `"x"`, "{}", `{"queues":null}`, `{"queues":7}`, `{"queues":"default"}`,
		`{"queues":{"a":"default"}}`, `{"queues":[1,2]}`, `{"queues":["default",null]}`, `{"queues":[["default"]]}`, `{"queues":[nan]}`,
		strings.Repeat("[", 2000), `{"queues":["default"]`, `{"queues":["default"]}}`} {
		add(info(text)...)
	}
	for _, text := range []string{"", "x", "nan", "-nan", "inf", "-inf", "0", "-1", "1e300", "-1e300", "1e12"} {
		add("beat", text)
	}
	for _, text := range []string{"99999999999999999999999 web-2", strings.Repeat("9", 400) + " web-2", "99999999999999 ", "99999999999999 a\nb"} {
		add(claimField, text)
	}
	for _, kind := range [][]any{{"SET", "7"}, {"LPUSH", "7"}, {"SADD", "7"}, {"ZADD", 1, "7"}} {
		hostile++
		id := identity(100 + hostile)
		s.do("SADD", "processes", id)
		s.do(append([]any{kind[0], id}, kind[1:]...)...)
	}
	far := identity(90)
	s.beat(far, everywhere, "beat", fmt.Sprintf("%d", time.Now().Unix()+7200))
	s.do("PERSIST", far) // in the future, and nobody renews it
	for _, id := range []any{"", "x", "\x00\xff\x1b[31m", strings.Repeat("x", 1<<20), "processes", "-v"} {
		s.do("SADD", "processes", id)
	}
	s.beat(me, everywhere)
	for _, anyQueue := range []bool{false, true} {
		r := request(me)
		r.AnyQueue = anyQueue
		_, err := f.Claim(r)
		if !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), ": not now: 0 of 1 other instances needed") {
			t.Error(err)
		}
	}
	all, err := f.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range all {
		if state := in.State(); state == Running && in.Identity != me && in.Identity != far {
			t.Errorf("%.40q is %s", in.Identity, state)
		}
		if _, err := f.Jobs(in.Identity); err != nil {
			t.Errorf("%.40q: %v", in.Identity, err)
		}
	}
	s.beat(identity(2), everywhere)
	s.wants(f, request(me), "")

	// Nor is any of them claimed, other than by what it says: no, or it cannot be said.
	for i := range hostile {
		id := identity(101 + i)
		if _, err := f.Claim(request(id)); !errors.Is(err, ErrDead) && !errors.Is(err, ErrNotNow) {
			t.Errorf("%s: %v", id, err)
		}
		if err := f.Release(id); err != nil && !errors.Is(err, ErrDead) {
			t.Errorf("release of %s: %v", id, err)
		}
	}
}

// "quiet" is what Sidekiq writes, and nothing else; a long hash is no longer in the way than a short one.
func TestLargeHash(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	pipe := s.redis.Pipeline()
	for i := range 100 {
		pipe.HSet(context.Background(), ids[1], fmt.Sprint("field", i), strings.Repeat("x", 1<<18))
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.wants(f, request(ids[0]), "")
	if in, err := f.One(ids[1]); err != nil || in.State() != Running {
		t.Error(in, err)
	}
}

func TestProcessesOfAnotherType(t *testing.T) {
	s := startRedis(t)
	s.do("SET", "processes", "x")
	want := "Redis at " + s.socket + ": WRONGTYPE Operation against a key holding the wrong kind of value"
	_, err := s.fleet().Claim(request(identity(1)))
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
	if _, err := s.fleet().All(); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
}

// However many ask at once, so many stay as must.
func TestAllAskAtOnce(t *testing.T) {
	const n = 200
	s := startRedis(t)
	fleets := make([]*Fleet, n)
	for i := range fleets {
		fleets[i] = s.fleet()
	}
	s.hearts()
	for _, least := range []int{1, 10, 199} {
		ids := s.beats(n, everywhere)
		var given atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i, f := range fleets {
			wg.Go(func() {
				r := request(ids[i])
				r.MinPeers, r.Holder = least, fmt.Sprint("host-", i)
				<-start
				f.Begin()
				_, err := f.Claim(r)
				if err == nil {
					given.Add(1)
				} else if !errors.Is(err, ErrNotNow) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if int(given.Load()) != n-least {
			t.Errorf("--min %d of %d: %d were given", least, n, given.Load())
		}
		for _, id := range ids {
			s.do("HDEL", id, claimField)
		}
	}
}

func TestOneOfManyGetsAnInstance(t *testing.T) {
	const n = 50
	s := startRedis(t)
	ids := s.beats(3, everywhere)
	var given atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		f := s.fleet()
		wg.Go(func() {
			r := request(ids[0])
			r.Holder = fmt.Sprint("host-", i)
			if _, err := f.Claim(r); err == nil {
				given.Add(1)
			} else if !errors.Is(err, ErrNotNow) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if given.Load() != 1 {
		t.Errorf("%d were given", given.Load())
	}
}

func TestScriptIsLoadedAgain(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[0]), "")
	s.do("SCRIPT", "FLUSH")
	s.wants(f, request(ids[0]), "")
}

func TestNamespace(t *testing.T) {
	s := startRedis(t)
	f := s.fleet(func(to *Settings) { to.Namespace = "app" })
	ids := []string{identity(1), identity(2)}
	for _, id := range ids {
		s.beat(id, everywhere)
		s.do("RENAME", id, "app:"+id)
		s.do("SADD", "app:processes", id)
	}
	s.do("DEL", "processes")
	if _, err := f.Claim(request(ids[0])); err != nil {
		t.Fatal(err)
	}
	if s.mark("app:"+ids[0]) == "" {
		t.Error("not marked")
	}
	if err := f.Signal(ids[0], "TSTP"); err != nil || s.do("EXISTS", "app:"+ids[0]+"-signals").(int64) != 1 {
		t.Error(err)
	}
	if all, err := f.All(); err != nil || len(all) != 2 || all[0].State() != Claimed || all[1].State() != Running {
		t.Error(all, err)
	}
	if all, err := s.fleet().All(); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
	if _, held, err := f.Lock("x", "me", time.Minute); held != "" || err != nil || s.do("EXISTS", "app:gracekit:lock:x").(int64) != 1 {
		t.Error(held, err)
	}
}

// stopBefore is a connection that stops the Redis right before a script is sent there: it comes to it when nobody waits
// any more.
type stopBefore struct {
	net.Conn
	server *server
	sent   *bool
}

func (c stopBefore) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("evalsha")) {
		c.server.process.Signal(syscall.SIGSTOP)
		c.Conn.SetWriteDeadline(time.Time{})
		*c.sent = true
	}
	return c.Conn.Write(b)
}

// What Redis comes to after it was said that there is no answer, is not done.
func TestLateScriptDoesNothing(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[1]), "") // the scripts are loaded
	if f.Release(ids[1]) != nil || f.Signal(ids[1], "TSTP") != nil {
		t.Fatal("cannot prepare")
	}
	for what, ask := range map[string]func(f *Fleet) error{
		"claim":  func(f *Fleet) error { _, err := f.Claim(request(ids[0])); return err },
		"signal": func(f *Fleet) error { return f.Signal(ids[0], "TERM") },
	} {
		before, sent := s.scriptsRun(), false
		for timeout := 300 * time.Millisecond; !sent; timeout *= 2 { // it may be over before the script's turn comes
			slow := s.fleet(func(to *Settings) { to.Timeout = timeout })
			slow.redis.Options().Dialer = func(context.Context, string, string) (net.Conn, error) {
				c, err := net.Dial("unix", s.socket)
				return stopBefore{c, s, &sent}, err
			}
			slow.Begin()
			err := ask(slow)
			s.process.Signal(syscall.SIGCONT)
			if want := fmt.Sprintf("Redis at %s: no answer within %v", s.socket, timeout); fmt.Sprint(err) != want {
				t.Errorf("%s: %v, want %s", what, err, want)
			}
		}
		s.until("the script to have been run", func() bool { return s.scriptsRun() > before })
	}
	if s.mark(ids[0]) != "" || s.do("EXISTS", ids[0]+"-signals").(int64) != 0 {
		t.Error("done late")
	}
}

func (s *server) scriptsRun() (n int) {
	s.Helper()
	_, text, found := strings.Cut(s.do("INFO", "commandstats").(string), "cmdstat_evalsha:calls=")
	if _, err := fmt.Sscanf(text, "%d", &n); found && err != nil {
		s.Fatal(err)
	}
	return n
}

// A queue that is for one host alone needs no other server, but the last server of any other queue does.
func TestPrivateQueues(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me := "web-1:1:000000000001"
	s.beat("web-2:1:000000000002", `"default","sidekiq-alive-web-2"`)
	for queues, want := range map[string]bool{
		`"default","sidekiq-alive-web-1"`:         true,
		`"default","web-1"`:                       true,
		`"default","web-1.high"`:                  true,
		`"default","a_web-1_b","aweb-1","web-11"`: false, // the last two are other names
		`"default","aweb-1","web-1"`:              false,
		`"default","mailers"`:                     false,
		`"default","low.web-10.web-1"`:            true,
		`"default","beat-7","beat-8","x%"`:        true, // by pattern
		`"default","beat-"`:                       false,
		`"default","beat-77"`:                     false,
		`"sidekiq-alive-web-1"`:                   true, // any other instance is as good as another
	} {
		s.beat(me, queues)
		r := request(me)
		r.PrivateQueues = []string{"beat-[7-9]", "?%"}
		_, err := f.Claim(r)
		if err == nil != want || err != nil && !errors.Is(err, ErrUnsatisfiable) {
			t.Errorf("%s: %v, want granted: %v", queues, err, want)
		}
		f.Release(me)
	}
}

func TestPatternsMeanTheSameInLua(t *testing.T) {
	s := startRedis(t)
	for glob, texts := range map[string][]string{
		"alive-*": {"alive-1", "alive-", "alive", "xalive-1"}, "a?c": {"abc", "ac", "a%c"}, "[a-c]x": {"bx", "dx"}, "[^a-c]x": {"bx", "dx"},
		`\*`: {"*", "x"}, "a.b+c%": {"a.b+c%", "axb+c%"}, "*": {"", "any"}, "$(x)^": {"$(x)^"}, "[.%]": {".", "%", "x"},
	} {
		for _, text := range texts {
			want, err := path.Match(glob, text)
			if err != nil {
				t.Fatal(err)
			}
			got := s.do("EVAL", "return string.find(ARGV[1], ARGV[2]) and 1 or 0", 0, text, luaPattern(glob)).(int64) == 1
			if got != want {
				t.Errorf("%s, %q: %v, want %v (%s)", glob, text, got, want, luaPattern(glob))
			}
		}
	}
}

// A service of several Sidekiqs is claimed in one step: they are not each other's peers.
func TestSeveralAreClaimedTogether(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(3, everywhere)
	two := Request{Identities: ids[:2], Holder: "web-1", MinPeers: 2, TTL: time.Hour}
	if _, err := f.Claim(two); err == nil || !errors.Is(err, ErrUnsatisfiable) || s.mark(ids[0]) != "" || s.mark(ids[1]) != "" {
		t.Error(err)
	}
	two.MinPeers = 1
	if _, err := f.Claim(two); err != nil || s.mark(ids[0]) == "" || s.mark(ids[1]) == "" {
		t.Error(err)
	}
	s.wants(f, request(ids[2]), ids[2]+": not now: 0 of 1 other instances needed are available; waiting for "+ids[0]+" (claimed), "+ids[1]+" (claimed)")
	three := Request{Identities: ids, Holder: "web-2", MinPeers: 0, TTL: time.Hour}
	if _, err := f.Claim(three); !errors.Is(err, ErrNotNow) || s.mark(ids[2]) != "" {
		t.Error("one of them is another's:", err)
	}
}

// A "no" that will pass names what will; one that will not says what to set.
func TestWhatWillPass(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me := identity(1)
	s.beat(me, `"a","b"`)
	s.wants(f, request(me), few(f, me, 0, 1, 0))
	s.beat(identity(2), `"a"`)
	s.beat(identity(3), `"b"`, claimField, "99999999999999 web-3")
	s.wants(f, request(me), me+": not now: no other instance that serves b is available; waiting for "+identity(3)+" (claimed)")
	s.beat(identity(2), `"a"`, claimField, "99999999999999 web-2")
	s.beat(me, `"a","b","c"`)
	_, err := f.Claim(request(me))
	if !errors.Is(err, ErrUnsatisfiable) || !strings.Contains(err.Error(), " serves c: ") { // not: wait for the others, and then never
		t.Error(err)
	}
	s.beat(me, `"a","b"`)
	s.do("HDEL", identity(2), claimField)
	s.do("HDEL", identity(3), claimField)
	s.wants(f, request(me), "")
}

func TestRenewAndRelease(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	s.wants(f, request(ids[0]), "")
	before := s.mark(ids[0])
	if ours, err := f.Renew(ids[0], "web-1", 2*time.Hour); !ours || err != nil || s.mark(ids[0]) == before {
		t.Error(ours, err, s.mark(ids[0]))
	}
	if ours, err := f.Renew(ids[0], "web-2", time.Hour); ours || err != nil {
		t.Error("the claim of another is renewed:", err)
	}
	if err := f.ReleaseOwn(ids[0], "web-2"); err != nil || s.mark(ids[0]) == "" {
		t.Error("the claim of another is released:", err)
	}
	if err := f.ReleaseOwn(ids[0], "web-1"); err != nil || s.mark(ids[0]) != "" {
		t.Error(err)
	}
	if ours, err := f.Renew(identity(9), "web-1", time.Hour); ours || err != nil || s.do("EXISTS", identity(9)).(int64) != 0 {
		t.Error("an instance that has exited:", ours, err)
	}
}
