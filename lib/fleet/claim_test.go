package fleet

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func request(identity string) Request {
	return Request{Identities: []string{identity}, Holder: "web-1", MinPeers: 1, TTL: time.Hour}
}

// claims compares the error of a claim: "" is granted, and marked.
func (s *server) claims(f *Fleet, r Request, want string) {
	s.Helper()
	_, err := f.Claim(r)
	if err == nil && want != "" || err != nil && err.Error() != want {
		s.Errorf("%+v:\n got %v\nwant %s", r, err, want)
	}
	if err == nil && s.mark(r.Identities[0]) == "" {
		s.Errorf("%+v: granted, and not marked", r)
	}
}

// Whether a claim is granted depends on what the others do, and which queues they serve.
func TestClaimDependsOnTheOthers(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	names := strings.NewReplacer("#1", identity(1), "#2", identity(2), "#3", identity(3), "#4", identity(4))
	few := func(available, needed, ofOtherQueues int) string {
		return fmt.Sprintf("#1: not possible: %d of %d other instances needed serve its queues in %s (of other queues: %d): start more, or need only %d "+
			"(claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)", available, needed, f.Where(), ofOtherQueues, available)
	}
	nobody := func(queues string) string {
		return "#1: not possible: no other instance in " + f.Where() + " serves " + queues +
			": start one that does, or set SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES if these queues need no other server"
	}
	for _, c := range []struct {
		queues, others string // those of each other, and what it is
		minPeers       int
		want           string
	}{
		{"a", "a", 1, ""},
		{"a", "a a", 2, ""},
		{"a", "a", 2, few(1, 2, 0)},
		{"a", "", 1, few(0, 1, 0)},
		{"a", "", 0, ""},
		{"a", "a:quiet a:claimed a:31s", 1, "#1: not now: 0 of 1 other instances needed are available; waiting for #2 (quiet), #3 (claimed), #4 (no heartbeat)"},
		{"a", "a:20s", 1, ""},

		{"a", "b", 1, few(0, 1, 1)},
		{"a --any-queue", "b", 1, ""},
		{"a --any-queue", "b", 2, few(1, 2, 0)},
		{"a,b,c", "a,x x,y c c,b", 3, ""},
		{"a,b,c", "a,x x,y", 1, nobody("b, c")},
		{"a,b,c", "a,x x,y c", 3, few(2, 3, 1)},
		{"a,b", "a b:claimed", 1, "#1: not now: no other instance that serves b is available; waiting for #3 (claimed)"},
		{"a,b,c", "a:claimed b:claimed", 1, nobody("c")}, // not: wait, and then never
	} {
		s.do("FLUSHALL")
		r := request(identity(1))
		r.MinPeers = c.minPeers
		queues, _, anyQueue := strings.Cut(c.queues, " --any-queue")
		r.AnyQueue = anyQueue
		s.beat(identity(1), quoted(queues))
		for i, other := range strings.Fields(c.others) {
			queues, state, _ := strings.Cut(other, ":")
			id := identity(i + 2)
			s.beat(id, quoted(queues), "beat", time.Now().Unix()+1000) // its clock does not matter
			switch since, err := time.ParseDuration(state); {
			case state == "quiet":
				s.do("HSET", id, "quiet", "true")
			case state == "claimed":
				s.do("HSET", id, claimField, "99999999999999 web-2")
			case err == nil:
				s.do("PEXPIRE", id, (lifetime - since).Milliseconds())
			}
		}
		s.claims(f, r, names.Replace(c.want))
		if c.want != "" && s.mark(identity(1)) != "" {
			t.Errorf("%+v: marked, though it was refused", c)
		}
	}
	s.do("FLUSHALL")
	for _, id := range s.beats(5) {
		s.do("HSET", id, "quiet", "true")
	}
	if _, err := f.Claim(request(identity(1))); err == nil || !strings.HasSuffix(err.Error(), " (quiet) and 1 more") {
		t.Error("more are waited for than are named:", err)
	}
}

// quoted are names as in a list of JSON.
func quoted(names string) string { return `"` + strings.ReplaceAll(names, ",", `","`) + `"` }

// A claim is that of one holder. It can be renewed and released, expires, and goes with the instance.
func TestClaimOfAHolder(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2)
	mine, web2, other := request(ids[0]), request(ids[0]), request(ids[1])
	web2.Holder = "web-2"
	s.claims(f, mine, "")
	s.do("SCRIPT", "FLUSH") // as when Redis was restarted
	s.claims(f, mine, "")   // the same holder may again
	if _, err := f.Claim(web2); !errors.Is(err, ErrNotNow) || !strings.HasPrefix(err.Error(), ids[0]+": not now: claimed by web-1, for another ") || !strings.HasSuffix(s.mark(ids[0]), " web-1") {
		t.Error(err, s.mark(ids[0]))
	}
	for _, holder := range []string{"web-2", "web-1"} {
		before, ours := s.mark(ids[0]), holder == "web-1"
		if renewed, err := f.Renew(ids[0], holder, 2*time.Hour); renewed != ours || err != nil || (s.mark(ids[0]) != before) != ours {
			t.Errorf("%s: renewed %v, %v, %s", holder, renewed, err, s.mark(ids[0]))
		}
		if err := f.ReleaseOwn(ids[0], holder); err != nil || (s.mark(ids[0]) == "") != ours {
			t.Errorf("%s has released %s: %v", holder, s.mark(ids[0]), err)
		}
	}
	if renewed, err := f.Renew(identity(9), "web-1", time.Hour); renewed || err != nil || s.exists(identity(9)) {
		t.Error("renewed, though there is no such instance:", err)
	}
	s.claims(f, web2, "")
	s.do("PERSIST", ids[0])
	s.do("HSET", ids[0], "beat", "1000000200") // one that has no heartbeat may have one again
	if err := f.Release(ids[0]); err != nil || s.mark(ids[0]) != "" {
		t.Error(err)
	}

	s.beats(2)
	mine.TTL = 50 * time.Millisecond
	s.claims(f, mine, "")
	s.Eventually("the claim expires", func() bool { _, err := f.Claim(other); return err == nil })
	if ttl := s.do("TTL", ids[1]).(int64); ttl < 0 || ttl > 60 {
		t.Errorf("the claim changed the lifetime of the hash: %d", ttl)
	}
	s.do("DEL", ids[1])
	s.beats(2) // the claim went with the hash
	s.claims(f, mine, "")
}

// While a restarted instance has exited and its successor has not started, Redis knows nothing of either.
func TestTheSuccessorOfARestartedInstanceIsWaitedFor(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2)
	s.claims(f, request(ids[0]), "")
	s.do("SREM", "processes", ids[0])
	s.do("DEL", ids[0])
	s.claims(f, request(ids[1]), ids[1]+": not now: 0 of 1 other instances needed are available; waiting for the successor of "+ids[0])
	s.do("DEL", "gracekit:restarts") // as it is when that takes too long
	s.claims(f, request(ids[1]), ids[1]+": not possible: 0 of 1 other instances needed serve its queues in "+f.Where()+
		" (of other queues: 0): start more, or need only 0 (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)")
}

// A restart that has begun goes on, whatever became of the others: otherwise the instance would stay quiet forever.
func TestBegunRestartGoesOn(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2)
	s.claims(f, request(ids[0]), "")
	s.do("DEL", ids[1])
	none := ids[0] + ": not now: 0 of 1 other instances needed are available; waiting for " + ids[1] + " (no heartbeat)"
	s.claims(f, request(ids[0]), none) // it takes jobs
	s.do("HSET", ids[0], "quiet", "true")
	s.claims(f, request(ids[0]), "")
	s.do("HSET", ids[0], claimField, "1 web-1") // its mark has expired meanwhile
	s.claims(f, request(ids[0]), "")
	s.do("HSET", ids[0], claimField, "1 web-2") // another one's has
	s.claims(f, request(ids[0]), none)
	s.do("HDEL", ids[0], claimField) // quieted by hand
	s.claims(f, request(ids[0]), none)
}

// A service of several Sidekiqs is claimed in one step: they are not each other's peers.
func TestSeveralAreClaimedTogether(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(3)
	two := Request{Identities: ids[:2], Holder: "web-1", MinPeers: 2, TTL: time.Hour}
	if _, err := f.Claim(two); !errors.Is(err, ErrUnsatisfiable) || s.mark(ids[0])+s.mark(ids[1]) != "" {
		t.Error(err)
	}
	two.MinPeers = 1
	if _, err := f.Claim(two); err != nil || s.mark(ids[0]) == "" || s.mark(ids[1]) == "" {
		t.Error(err)
	}
	three := Request{Identities: ids, Holder: "web-2", MinPeers: 0, TTL: time.Hour}
	if _, err := f.Claim(three); !errors.Is(err, ErrNotNow) || s.mark(ids[2]) != "" {
		t.Error("one of them is another's:", err)
	}
}

// An instance that is not there, or has no heartbeat, is not claimed or signalled, and nothing is written for it.
func TestInstanceThatIsNotThere(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	exited, dead, silent := identity(2), identity(3), identity(4)
	s.beat(identity(1), everywhere)
	s.beat(exited, everywhere)
	s.do("SREM", "processes", exited)
	s.do("SADD", "processes", dead)
	s.beat(silent, everywhere, "beat", time.Now().Unix()-900)
	s.do("PERSIST", silent)
	for _, c := range []struct {
		id, want string
		is       error
	}{
		{identity(5), "no such instance in " + f.Where(), ErrAbsent},
		{exited, "no such instance in " + f.Where(), ErrAbsent},
		{dead, "no heartbeat for more than 1m0s", ErrDead},
		{silent, "no heartbeat for 90", ErrDead},
	} {
		before := s.exists(c.id)
		_, errClaim := f.Claim(request(c.id))
		for _, err := range []error{errClaim, f.Signal(c.id, "TERM"), f.Release(c.id)} {
			if !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), c.id+": "+c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		}
		if s.mark(c.id) != "" || s.exists(c.id) != before || s.exists(c.id+"-signals") {
			t.Errorf("%s: written", c.id)
		}
	}
}

// Whatever is in Redis counts for nothing, and does not prevent a claim.
func TestHostileData(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	me, far := identity(1), identity(2)
	s.beat(me, everywhere)
	s.beat(far, everywhere, "beat", time.Now().Unix()+7200)
	s.do("PERSIST", far) // in the future, and nobody renews it
	var hostile []string
	next := func() string {
		hostile = append(hostile, identity(100+len(hostile)))
		return hostile[len(hostile)-1]
	}
	for field, texts := range map[string][]string{
		"info": {"", "x", "null", "[]", "7", `"x"`, "{}", `{"queues":null}`, `{"queues":7}`, `{"queues":"default"}`, `{"queues":{"a":"default"}}`,
			`{"queues":[1,2]}`, `{"queues":["default",null]}`, `{"queues":[["default"]]}`, `{"queues":[nan]}`, strings.Repeat("[", 100000),
			`{"queues":["default"]`, `{"queues":["default"]}}`},
		"beat":     {"", "x", "nan", "-nan", "inf", "-inf", "0", "-1", "soon", "1e300", "-1e300", "1e12"},
		claimField: {"99999999999999999999999 web-2", strings.Repeat("9", 400) + " web-2", "99999999999999 ", "99999999999999 a\nb"},
	} {
		for _, text := range texts {
			s.beat(next(), everywhere, field, text)
		}
	}
	for _, other := range [][]any{{"SET", next(), "7"}, {"LPUSH", next(), "7"}, {"SADD", next(), "7"}, {"ZADD", next(), 1, "7"}} {
		s.do(other...)
		s.do("SADD", "processes", other[1])
	}
	for _, id := range []string{"", "x", "\x00\xff\x1b[31m", strings.Repeat("x", 1<<20), "processes", "-v"} {
		s.do("SADD", "processes", id)
	}
	s.do("SET", far+":work", "no hash")
	s.do("HSET", me+":workers", "a", "\x00")
	for _, anyQueue := range []bool{false, true} {
		r := request(me)
		r.AnyQueue = anyQueue
		if _, err := f.Claim(r); !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), ": not now: 0 of 1 other instances needed") {
			t.Error(err)
		}
	}
	all, err := f.All()
	s.Check(err)
	for _, in := range all {
		if in.State() == Running && in.Identity != me && in.Identity != far {
			t.Errorf("%.40q is running", in.Identity)
		}
		if jobs, err := f.Jobs(in.Identity); err != nil || len(jobs) > 0 && in.Identity != me {
			t.Errorf("%.40q: %v, %v", in.Identity, jobs, err)
		}
	}
	s.beat(identity(3), everywhere)
	s.claims(f, request(me), "")
	for _, id := range hostile {
		if _, err := f.Claim(request(id)); !errors.Is(err, ErrDead) && !errors.Is(err, ErrNotNow) {
			t.Errorf("%s: %v", id, err)
		}
		if err := f.Release(id); err != nil && !errors.Is(err, ErrDead) {
			t.Errorf("release of %s: %v", id, err)
		}
	}
	s.do("SET", "processes", "x")
	_, errClaim := f.Claim(request(me))
	_, errAll := f.All()
	for _, err := range []error{errClaim, errAll} {
		noAnswer(t, err, "Redis at "+s.socket+": WRONGTYPE Operation against a key holding the wrong kind of value")
	}
}

func TestNamespace(t *testing.T) {
	s := startRedis(t)
	to := s.settings("")
	to.Namespace = "app"
	f := open(t, to)
	ids := s.beats(2)
	for _, key := range append(ids, "processes") {
		s.do("RENAME", key, "app:"+key)
	}
	_, errClaim := f.Claim(request(ids[0]))
	_, _, errLock := f.Lock("x", "me", time.Minute)
	s.Check(errors.Join(errClaim, errLock, f.Signal(ids[0], "TSTP")))
	if s.mark("app:"+ids[0]) == "" || !s.exists("app:"+ids[0]+"-signals") || !s.exists("app:gracekit:lock:x") {
		t.Error("not written below the namespace")
	}
	if all, err := f.All(); err != nil || len(all) != 2 || all[0].State() != Claimed || all[1].State() != Running {
		t.Error(all, err)
	}
}

// What Redis comes to after it was reported that there is no answer is not done.
func TestScriptAfterItsDeadlineDoesNothing(t *testing.T) {
	s := startRedis(t)
	id, ctx := s.beats(2)[0], t.Context()
	s.do("RPUSH", "queue:default", "job")
	const deadline = 1 // long ago
	for name, answer := range map[string]*redis.Cmd{
		"claim":  claimScript.Run(ctx, s.redis, []string{"processes"}, "", request(id).forScript(), deadline),
		"signal": signalScript.Run(ctx, s.redis, []string{id + "-signals"}, "TERM", 60, deadline),
		"bury":   buryScript.Run(ctx, s.redis, []string{"queue:default", "dead"}, "job", deadMax, deadSeconds, deadline),
	} {
		if text, err := answer.Text(); text != "late" || err != nil {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
	if s.mark(id) != "" || s.exists(id+"-signals") || s.exists("dead") {
		t.Error("done after the deadline")
	}
	_, err := s.fleet().runInTime(redis.NewScript("return 'late'"), nil)
	noAnswer(t, err, ": no answer within 2m0s")
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
		`"default","sidekiq_alive_WEB_1"`:         true,  // as some write a hostname
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
