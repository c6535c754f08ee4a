package fleet

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const everywhere = `"default","low"`

func request(identity string) Request {
	return Request{Identities: []string{identity}, Holder: "web-1", MinPeers: 1, TTL: time.Hour}
}

// claims compares the error of a claim: "" is granted, and marked.
func (s *server) claims(f *Fleet, r Request, want string) {
	s.Helper()
	_, err := f.Claim(r)
	if got := fmt.Sprint(err); err == nil && want != "" || err != nil && (want == "" || got != want) {
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
	text := strings.NewReplacer("#1", identity(1), "#2", identity(2), "#3", identity(3), "#4", identity(4), "REDIS", f.Where(),
		"START MORE", "start more, or need only", "BY NOBODY", ": start one that does, or set SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES if these queues need no other server")
	type others [][]any // of each: its queues, and what else is in its heartbeat, or how long ago that was
	quiet := func(queues string) []any { return []any{queues, "quiet", "true"} }
	claimed := func(queues string) []any { return []any{queues, claimField, "99999999999999 web-2"} }
	atLeast := func(n int) func(*Request) { return func(r *Request) { r.MinPeers = n } }
	anyQueue := func(n int) func(*Request) { return func(r *Request) { r.AnyQueue, r.MinPeers = true, n } }
	for name, c := range map[string]struct {
		queues string
		others others
		change func(*Request)
		want   string
	}{
		"another can do its work":   {`"a"`, others{{`"a"`}}, nil, ""},
		"so many as must stay":      {`"a"`, others{{`"a"`}, {`"a"`}}, atLeast(2), ""},
		"fewer than must stay":      {`"a"`, others{{`"a"`}}, atLeast(2), "#1: not possible: 1 of 2 other instances needed serve its queues in REDIS (of other queues: 0): START MORE 1 (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)"},
		"it is alone":               {`"a"`, nil, nil, "#1: not possible: 0 of 1 other instances needed serve its queues in REDIS (of other queues: 0): START MORE 0 (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)"},
		"none must stay":            {`"a"`, nil, atLeast(0), ""},
		"others are not available":  {`"a"`, others{quiet(`"a"`), claimed(`"a"`), {`"a"`, 31 * time.Second}}, nil, "#1: not now: 0 of 1 other instances needed are available; waiting for #2 (quiet), #3 (claimed), #4 (no heartbeat)"},
		"a heartbeat is a bit late": {`"a"`, others{{`"a"`, 20 * time.Second}}, nil, ""},

		"others serve other queues":        {`"a"`, others{{`"b"`}}, nil, "#1: not possible: 0 of 1 other instances needed serve its queues in REDIS (of other queues: 1): START MORE 0 (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)"},
		"and that does not matter":         {`"a"`, others{{`"b"`}}, anyQueue(1), ""},
		"but they are too few":             {`"a"`, others{{`"b"`}}, anyQueue(2), "#1: not possible: 1 of 2 other instances needed serve its queues in REDIS (of other queues: 0): START MORE 1 (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)"},
		"its queues are served by several": {`"a","b","c"`, others{{`"a","x"`}, {`"x","y"`}, {`"c"`}, {`"c","b"`}}, atLeast(3), ""},
		"queues that nobody serves":        {`"a","b","c"`, others{{`"a","x"`}, {`"x","y"`}}, nil, "#1: not possible: no other instance in REDIS serves b, cBY NOBODY"},
		"nor are there so many":            {`"a","b","c"`, others{{`"a","x"`}, {`"x","y"`}, {`"c"`}}, atLeast(3), "#1: not possible: 2 of 3 other instances needed serve its queues in REDIS (of other queues: 1): START MORE 2 (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)"},
		"the server of a queue is claimed": {`"a","b"`, others{{`"a"`}, claimed(`"b"`)}, nil, "#1: not now: no other instance that serves b is available; waiting for #3 (claimed)"},
		"not: wait, and then never":        {`"a","b","c"`, others{claimed(`"a"`), claimed(`"b"`)}, nil, "#1: not possible: no other instance in REDIS serves cBY NOBODY"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{T: t, redis: s.redis}
			s.do("FLUSHALL")
			s.beat(identity(1), c.queues)
			for i, other := range c.others {
				id, queues := identity(i+2), other[0].(string)
				if since, ok := other[len(other)-1].(time.Duration); ok {
					s.beat(id, queues, "beat", time.Now().Unix()+1000) // its clock does not matter
					s.late(id, since)
					continue
				}
				s.beat(id, queues, other[1:]...)
			}
			r := request(identity(1))
			if c.change != nil {
				c.change(&r)
			}
			s.claims(f, r, text.Replace(c.want))
			if c.want != "" && s.mark(identity(1)) != "" {
				t.Error("marked, though it was refused")
			}
		})
	}
	s.do("FLUSHALL")
	for i := range 5 {
		s.beat(identity(i+1), everywhere, "quiet", "true")
	}
	if _, err := f.Claim(request(identity(1))); err == nil || !strings.HasSuffix(err.Error(), " (quiet) and 1 more") {
		t.Error("more are waited for than are named:", err)
	}
}

// A claim is that of one holder. It can be renewed and released, expires, and goes with the instance.
func TestClaimOfAHolder(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
	mine, web2 := request(ids[0]), request(ids[0])
	web2.Holder = "web-2"
	s.claims(f, mine, "")
	s.do("SCRIPT", "FLUSH") // as when Redis was restarted
	s.claims(f, mine, "")   // the same holder may again
	_, err := f.Claim(web2)
	if !errors.Is(err, ErrNotNow) || !strings.HasPrefix(err.Error(), ids[0]+": not now: claimed by web-1, for another ") || !strings.HasSuffix(s.mark(ids[0]), " web-1") {
		t.Error(err, s.mark(ids[0]))
	}
	waiting := ids[1] + ": not now: 0 of 1 other instances needed are available; waiting for " + ids[0] + " (claimed)"
	s.claims(f, request(ids[1]), waiting)

	before := s.mark(ids[0])
	if ours, err := f.Renew(ids[0], "web-2", time.Hour); ours || err != nil || s.mark(ids[0]) != before {
		t.Error("the claim of another is renewed:", err)
	}
	if ours, err := f.Renew(ids[0], "web-1", 2*time.Hour); !ours || err != nil || s.mark(ids[0]) == before {
		t.Error(ours, err, s.mark(ids[0]))
	}
	if ours, err := f.Renew(identity(9), "web-1", time.Hour); ours || err != nil || s.do("EXISTS", identity(9)).(int64) != 0 {
		t.Error("an instance that has exited:", ours, err)
	}
	if err := f.ReleaseOwn(ids[0], "web-2"); err != nil || s.mark(ids[0]) == "" {
		t.Error("the claim of another is released:", err)
	}
	if err := f.ReleaseOwn(ids[0], "web-1"); err != nil || s.mark(ids[0]) != "" {
		t.Error(err)
	}
	s.claims(f, web2, "")
	s.do("PERSIST", ids[0])
	s.do("HSET", ids[0], "beat", "1000000200") // one that has no heartbeat may have one again
	if err := f.Release(ids[0]); err != nil || s.mark(ids[0]) != "" {
		t.Error(err)
	}

	s.beats(2, everywhere)
	mine.TTL = 50 * time.Millisecond
	s.claims(f, mine, "")
	s.until("the end of the claim", func() bool {
		_, err := f.Claim(request(ids[1]))
		return err == nil
	})
	if in, err := f.One(ids[0]); err != nil || in.State() != Running {
		t.Error(in, err)
	}
	if ttl := s.do("TTL", ids[1]).(int64); ttl < 0 || ttl > 60 {
		t.Errorf("the claim changed the lifetime of the hash: %d", ttl)
	}
	s.do("DEL", ids[1])
	s.beat(ids[1], everywhere) // whoever has that identity next
	s.claims(f, request(ids[0]), "")
}

// While a restarted instance has exited and its successor has not started, Redis knows nothing of either.
func TestTheSuccessorOfARestartedInstanceIsWaitedFor(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(2, everywhere)
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
	ids := s.beats(2, everywhere)
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
	ids := s.beats(3, everywhere)
	two := Request{Identities: ids[:2], Holder: "web-1", MinPeers: 2, TTL: time.Hour}
	if _, err := f.Claim(two); err == nil || !errors.Is(err, ErrUnsatisfiable) || s.mark(ids[0]) != "" || s.mark(ids[1]) != "" {
		t.Error(err)
	}
	two.MinPeers = 1
	if _, err := f.Claim(two); err != nil || s.mark(ids[0]) == "" || s.mark(ids[1]) == "" {
		t.Error(err)
	}
	s.claims(f, request(ids[2]), ids[2]+": not now: 0 of 1 other instances needed are available; waiting for "+ids[0]+" (claimed), "+ids[1]+" (claimed)")
	three := Request{Identities: ids, Holder: "web-2", MinPeers: 0, TTL: time.Hour}
	if _, err := f.Claim(three); !errors.Is(err, ErrNotNow) || s.mark(ids[2]) != "" {
		t.Error("one of them is another's:", err)
	}
}

// An instance that is not there, or has no heartbeat, is not claimed or signalled, and nothing is written for it.
func TestInstanceThatIsNotThere(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	s.beats(1, everywhere)
	for what, c := range map[string]struct {
		make func(id string)
		want string
		is   error
	}{
		"never was":     {func(string) {}, "no such instance in " + f.Where(), ErrAbsent},
		"has exited":    {func(id string) { s.beat(id, everywhere); s.do("SREM", "processes", id) }, "no such instance in " + f.Where(), ErrAbsent},
		"is dead":       {func(id string) { s.do("SADD", "processes", id) }, "no heartbeat for more than 1m0s", ErrDead},
		"beats no more": {func(id string) { s.beat(id, everywhere, "beat", time.Now().Unix()-900); s.do("PERSIST", id) }, "no heartbeat for 90", ErrDead},
	} {
		id := identity(7)
		s.do("DEL", id)
		s.do("SREM", "processes", id)
		c.make(id)
		before := s.do("EXISTS", id)
		_, errClaim := f.Claim(request(id))
		for _, err := range []error{errClaim, f.Signal(id, "TERM"), f.Release(id)} {
			if !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), id+": "+c.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if s.mark(id) != "" || s.do("EXISTS", id) != before || s.do("EXISTS", id+"-signals").(int64) != 0 {
			t.Errorf("%s: written", what)
		}
	}
}

// Whatever is in Redis counts for nothing, and does not prevent a claim.
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
		strings.Repeat("[", 100000), `{"queues":["default"]`, `{"queues":["default"]}}`} {
		add(info(text)...)
	}
	for _, text := range []string{"", "x", "nan", "-nan", "inf", "-inf", "0", "-1", "soon", "1e300", "-1e300", "1e12"} {
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
	s.claims(f, request(me), "")

	// Nor is any of them claimed.
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

// afterDeadline lets a script reach Redis when its deadline has passed, and nobody waits for the answer any more.
type afterDeadline struct{ *Fleet }

func (afterDeadline) DialHook(next redis.DialHook) redis.DialHook { return next }
func (afterDeadline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (a afterDeadline) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			time.Sleep(time.Until(a.deadline))
		}
		return next(context.WithoutCancel(ctx), cmd)
	}
}

// What Redis comes to after it was reported that there is no answer is not done.
func TestScriptAfterItsDeadlineDoesNothing(t *testing.T) {
	s := startRedis(t)
	id := s.beats(2, everywhere)[0]
	job := RanJob{JID: "j", Queue: "default", payload: payload("j", 900)}
	s.do("RPUSH", "queue:default", job.payload)
	f := s.fleet(func(to *Settings) { to.Timeout = time.Second })
	f.redis.AddHook(afterDeadline{f})
	for what, ask := range map[string]func() error{
		"claim":  func() error { _, err := f.Claim(request(id)); return err },
		"signal": func() error { return f.Signal(id, "TERM") },
		"bury":   func() error { _, err := f.Bury(job); return err },
	} {
		f.Begin()
		if err := ask(); fmt.Sprint(err) != f.Where()+": no answer within 1s" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s.mark(id) != "" || s.do("EXISTS", id+"-signals").(int64) != 0 || s.do("EXISTS", "dead").(int64) != 0 {
		t.Error("done after the deadline")
	}
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
