package fleet

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// claimField is the mark of a claim, in the hash that the heartbeat renews, so that it goes with the instance.
// Its value is when it expires, in ms of Redis' clock, and who holds it.
const claimField = "gracekit"

var (
	//go:embed claim.lua
	claimLua string
	//go:embed mark.lua
	markLua string

	claimScript = redis.NewScript(claimLua)
	markScript  = redis.NewScript(markLua)
)

// fresh is how old the last heartbeat of another instance may be to count as available: three of Sidekiq 7's.
// One that was killed stays in Redis for a minute.
const fresh = 30 * time.Second

// bootTime is how long after the end of its claim the successor of a restarted instance is waited for, before too few
// instances are called a lasting fault.
const bootTime = 10 * time.Minute

// Claim is the right to restart an instance.
type Claim struct {
	Holder string
	Left   time.Duration // until it expires
}

func parseClaim(text string, now time.Time) Claim {
	expires, holder, ok := strings.Cut(text, " ")
	if !ok || expires == "" || strings.Trim(expires, "0123456789") != "" {
		return Claim{}
	}
	ms, _ := strconv.ParseFloat(expires, 64) // what is too large for it never expires
	if left := milliseconds(ms - float64(now.UnixMilli())); left > 0 {
		return Claim{holder, left}
	}
	return Claim{}
}

// milliseconds are bounded to a few decades.
func milliseconds(ms float64) time.Duration {
	return time.Duration(min(max(ms, -1e12), 1e12)) * time.Millisecond
}

// Request is what is claimed, and what must stay.
type Request struct {
	Identities    []string      // claimed in one step: a service may have several Sidekiqs
	Holder        string        // the same holder may claim again
	MinPeers      int           // so many other instances must be available
	TTL           time.Duration // after that the claim is void
	AnyQueue      bool          // other instances count whatever queues they serve
	PrivateQueues []string      // patterns, as of path.Match, of queues that nobody else needs to serve
}

// forScript is the request as claim.lua reads it, in JSON.
func (r Request) forScript() string {
	type instance struct {
		Identity string `json:"identity"`
		Host     string `json:"host"`
	}
	var instances []instance
	for _, text := range r.Identities {
		id, ok := ParseIdentity(text)
		if !ok {
			id.Host = text // of which no queue has a part
		}
		instances = append(instances, instance{text, id.Host})
	}
	patterns := []string{}
	for _, glob := range r.PrivateQueues {
		patterns = append(patterns, luaPattern(glob))
	}
	text, err := json.Marshal(map[string]any{
		"instances": instances, "holder": r.Holder, "min_peers": r.MinPeers, "any_queue": r.AnyQueue, "private": patterns,
		"ttl": max(r.TTL.Milliseconds(), 1), "fresh": fresh.Milliseconds(), "lifetime": lifetime.Milliseconds(), "boot": bootTime.Milliseconds(),
	})
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return string(text)
}

// Why a claim is refused: something that will pass, or something that only an operator can change.
var (
	ErrNotNow        = errors.New("not now")
	ErrUnsatisfiable = errors.New("not possible")
)

// answer is what claim.lua returns.
type answer struct {
	Answer      string
	Identity    string
	Since       float64 // ms
	Holder      string
	Left        float64 // ms
	Peers       int
	OtherQueues int      `json:"other_queues"`
	Expected    int      // of those not available, how many serve one of the queues, or may
	Unserved    []string // queues whose other servers are not available now
	Waiting     []string // some of those not available, and why
	Nobodys     []string // queues that no other instance serves
}

// Claim marks instances as about to be restarted, if as many others as must stay can do their work. It returns how many
// can, at least: no more are read than necessary. The error is ErrNotNow, ErrUnsatisfiable, ErrAbsent or ErrDead, with
// the reason, or why Redis gave no answer.
func (f *Fleet) Claim(r Request) (peers int, err error) {
	text, err := f.runInTime(claimScript, []string{f.prefix + "processes"}, f.prefix, r.forScript())
	if err != nil {
		return 0, err
	}
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return 0, fmt.Errorf("%s: %w", f.where, err)
	}
	return a.Peers, f.refusal(r, a)
}

// refusal is the error of an answer that is not "granted".
func (f *Fleet) refusal(r Request, a answer) error {
	who := strings.Join(r.Identities, ", ")
	slices.Sort(a.Waiting)
	switch a.Answer {
	case "granted":
		return nil
	case "absent":
		return fmt.Errorf("%s: %w in %s", a.Identity, ErrAbsent, f.where)
	case "dead":
		in := Instance{Known: a.Since >= 0, SinceHeartbeat: milliseconds(a.Since)}
		return fmt.Errorf("%s: %w", a.Identity, in.errDead())
	case "held":
		return fmt.Errorf("%s: %w: claimed by %s, for another %v at most", a.Identity, ErrNotNow, a.Holder,
			milliseconds(a.Left).Round(time.Second))
	case "unserved":
		if len(a.Nobodys) > 0 {
			slices.Sort(a.Nobodys)
			return fmt.Errorf("%s: %w: no other instance in %s serves %s: start one that does, or set SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES "+
				"if these queues need no other server", who, ErrUnsatisfiable, f.where, strings.Join(a.Nobodys, ", "))
		}
		slices.Sort(a.Unserved)
		return fmt.Errorf("%s: %w: no other instance that serves %s is available; waiting for %s", who, ErrNotNow,
			strings.Join(a.Unserved, ", "), strings.Join(slices.Compact(a.Waiting), ", "))
	}
	if a.Peers+a.Expected < r.MinPeers {
		return fmt.Errorf("%s: %w: %d of %d other instances needed serve its queues in %s (of other queues: %d): start more, "+
			"or need only %d (claim --min, SIDEKIQ_MEMORY_KILLER_MIN_PEERS)", who, ErrUnsatisfiable, a.Peers+a.Expected, r.MinPeers, f.where, a.OtherQueues, a.Peers+a.Expected)
	}
	waiting := strings.Join(a.Waiting, ", ")
	if more := a.Expected - len(a.Waiting); more > 0 {
		waiting += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Errorf("%s: %w: %d of %d other instances needed are available; waiting for %s", who, ErrNotNow, a.Peers, r.MinPeers, waiting)
}

// luaPattern is a pattern of path.Match as a pattern of Lua, but that * matches a slash too.
func luaPattern(glob string) string {
	var p strings.Builder
	p.WriteByte('^')
	class := false // in [...]
	for i := 0; i < len(glob); i++ {
		c := glob[i]
		switch {
		case c == '\\' && i+1 < len(glob):
			i++
			luaLiteral(&p, glob[i])
		case class && c == ']':
			class = false
			p.WriteByte(c)
		case class && (c == '-' || c == '^' && strings.HasSuffix(glob[:i], "[")):
			p.WriteByte(c)
		case !class && c == '[':
			class = true
			p.WriteByte(c)
		case !class && c == '*':
			p.WriteString(".*")
		case !class && c == '?':
			p.WriteByte('.')
		default:
			luaLiteral(&p, c)
		}
	}
	p.WriteByte('$')
	return p.String()
}

func luaLiteral(p *strings.Builder, c byte) {
	if c < 0x80 && !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
		p.WriteByte('%')
	}
	p.WriteByte(c)
}

// Renew lets a claim of that holder last as long again; false if the holder does not have it any more.
func (f *Fleet) Renew(identity, holder string, ttl time.Duration) (bool, error) {
	return f.mark(identity, holder, max(ttl.Milliseconds(), 1))
}

// ReleaseOwn removes the claim of that holder, if it has one.
func (f *Fleet) ReleaseOwn(identity, holder string) error {
	_, err := f.mark(identity, holder, 0)
	return err
}

func (f *Fleet) mark(identity, holder string, ms int64) (bool, error) {
	n, err := markScript.Run(f.ctx, f.redis, []string{f.prefix + identity}, holder, ms).Int()
	return n == 1, f.wrap(err)
}

// Release removes the claim, also that of another holder. The error is ErrAbsent, ErrDead (there was no claim), or why Redis gave
// no answer.
func (f *Fleet) Release(identity string) error {
	n, err := f.redis.HDel(f.ctx, f.prefix+identity, claimField).Result()
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return f.wrap(err)
	}
	if n == 0 {
		_, err = f.One(identity)
	}
	return err
}
