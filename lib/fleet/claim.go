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

// claimField is our mark, in the hash that the heartbeat renews: with the instance it is gone.
// Its value is when it ends, in ms of Redis' clock, and who made it.
const claimField = "gracekit"

//go:embed claim.lua
var claimLua string

var claimScript = redis.NewScript(claimLua)

// fresh is how old the last heartbeat of another instance may be to count on it: three of Sidekiq 7's.
// One that was killed stays in Redis for a minute.
const fresh = 30 * time.Second

// Claim is the mark of one who restarts an instance.
type Claim struct {
	By   string
	Left time.Duration // until it ends
}

func parseClaim(text string, now time.Time) Claim {
	ends, by, ok := strings.Cut(text, " ")
	if !ok || ends == "" || strings.Trim(ends, "0123456789") != "" {
		return Claim{}
	}
	ms, _ := strconv.ParseFloat(ends, 64) // what is too large for it never ends
	if left := milliseconds(ms - float64(now.UnixMilli())); left > 0 {
		return Claim{by, left}
	}
	return Claim{}
}

// milliseconds are at most a few centuries.
func milliseconds(ms float64) time.Duration {
	return time.Duration(min(max(ms, -1e12), 1e12)) * time.Millisecond
}

// Request is what is claimed, and what must stay.
type Request struct {
	Identity string
	By       string        // who claims; the same one may do so again
	Least    int           // so many others must be there
	TTL      time.Duration // after that the mark is void
	AnyQueue bool          // whatever queues they serve
}

// ErrNotNow is the error of a claim that is not given.
var ErrNotNow = errors.New("not now")

// answer is what claim.lua says.
type answer struct {
	Answer    string
	Silence   float64 // ms
	Holder    string
	Left      float64 // ms
	Peers     int
	Strangers int
	Quiet     int
	Claimed   int
	Dead      int
	Unserved  []string
}

// Claim marks an instance as one that is about to be restarted, if as many others as are asked for can do its work.
// It returns how many can: so many at least, for no more are looked at than need be. The error is ErrNotNow, ErrAbsent or
// ErrDead, with the reason, or why Redis gave no answer.
func (f *Fleet) Claim(r Request) (peers int, err error) {
	ctx, cancel := f.question()
	defer cancel()
	anyQueue := 0
	if r.AnyQueue {
		anyQueue = 1
	}
	before, err := f.lastMoment(ctx)
	if err != nil {
		return 0, f.refused(err)
	}
	text, err := claimScript.Run(ctx, f.redis, []string{f.prefix + "processes"}, f.prefix, r.Identity, r.Least,
		max(r.TTL.Milliseconds(), 1), anyQueue, r.By, fresh.Milliseconds(), lifetime.Milliseconds(), before).Text()
	if err != nil {
		return 0, f.refused(err)
	}
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return 0, fmt.Errorf("%s: %w", f.where, err)
	}
	return a.Peers, f.verdict(r, a)
}

func (f *Fleet) verdict(r Request, a answer) error {
	switch a.Answer {
	case "granted":
		return nil
	case late:
		return f.tooLate()
	case "absent":
		return fmt.Errorf("%s: %w in %s", r.Identity, ErrAbsent, f.where)
	case "dead":
		in := Instance{known: a.Silence >= 0, Silence: milliseconds(a.Silence)}
		return fmt.Errorf("%s: %w", r.Identity, in.silent())
	case "held":
		return fmt.Errorf("%s: %w: claimed by %s, for another %v at most", r.Identity, ErrNotNow, a.Holder,
			milliseconds(a.Left).Round(time.Second))
	case "unserved":
		slices.Sort(a.Unserved)
		return fmt.Errorf("%s: %w: no other instance serves %s", r.Identity, ErrNotNow, strings.Join(a.Unserved, ", "))
	}
	return fmt.Errorf("%s: %w: %d of %d others needed can do its work (claimed: %d, quiet: %d, without a heartbeat: %d, of other queues: %d)",
		r.Identity, ErrNotNow, a.Peers, r.Least, a.Claimed, a.Quiet, a.Dead, a.Strangers)
}

// Release takes the mark away, whoever made it. The error is ErrAbsent, ErrDead (and no mark), or why Redis gave no answer.
func (f *Fleet) Release(identity string) error {
	ctx, cancel := f.question()
	defer cancel()
	n, err := f.redis.HDel(ctx, f.prefix+identity, claimField).Result()
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return f.refused(err)
	}
	if n == 0 {
		_, err = f.One(identity)
	}
	return err
}
