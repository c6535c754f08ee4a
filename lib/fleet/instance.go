package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// What Redis says no with.
var (
	ErrAbsent    = errors.New("no such instance")
	ErrDead      = errors.New("no sign of life")
	ErrAmbiguous = errors.New("more than one instance it could be")
)

// State is what an instance does.
type State string

const (
	Running State = "running"
	Quiet   State = "quiet"   // it takes no jobs
	Claimed State = "claimed" // somebody restarts it, and it may be quiet already
	Dead    State = "dead"    // no heartbeat for 60 s
)

// lifetime is how long Sidekiq lets its hash live from one heartbeat on (launcher.rb), and so how long one is waited for.
const lifetime = 60 * time.Second

// Instance is what one Sidekiq said of itself at its last heartbeat.
type Instance struct {
	Identity    string
	Version     string // empty before Sidekiq 7
	Tag         string
	Busy        int
	Concurrency int
	RSS         int64 // KB; 0: it doesn't tell
	Quiet       bool
	Embedded    bool // in a program that is no Sidekiq: it takes no signals
	Queues      []string
	Started     time.Time     // on its own clock; zero: it doesn't tell
	Silence     time.Duration // since its last heartbeat
	Age         time.Duration // since it started
	Claim       Claim
	known       bool // there is a hash, and it can be read
}

// State is the state of the instance.
func (in *Instance) State() State {
	switch {
	case !in.known, in.Silence >= lifetime:
		return Dead
	case in.Claim.Left > 0:
		return Claimed
	case in.Quiet:
		return Quiet
	}
	return Running
}

// Known tells whether Redis still has what it said.
func (in *Instance) Known() bool { return in.known }

func (in *Instance) silent() error {
	if !in.known {
		return fmt.Errorf("%w: its heartbeat stopped more than %v ago", ErrDead, lifetime)
	}
	return fmt.Errorf("%w: its last heartbeat is %.0f s old", ErrDead, in.Silence.Seconds())
}

// info is the JSON of a heartbeat, as Sidekiq 6 to 8 write it.
type info struct {
	StartedAt   float64  `json:"started_at"` // Unix time, seconds
	Version     string   `json:"version"`
	Tag         string   `json:"tag"`
	Concurrency int      `json:"concurrency"` // gone in Sidekiq 8
	Queues      []string `json:"queues"`
	Embedded    bool     `json:"embedded"`
	Capsules    map[string]struct {
		Concurrency int `json:"concurrency"`
	} `json:"capsules"`
}

// fields of the hash of an instance; the last is ours.
var fields = []string{"info", "busy", "beat", "quiet", "rss", claimField}

// All is every instance, by identity.
func (f *Fleet) All() ([]Instance, error) {
	ids, err := f.members()
	if err != nil {
		return nil, err
	}
	return f.look(ids)
}

// One is the instance of that identity. The error is ErrAbsent, ErrDead, or why Redis gave no answer.
func (f *Fleet) One(identity string) (*Instance, error) {
	ctx, cancel := f.question()
	defer cancel()
	member, err := f.redis.SIsMember(ctx, f.prefix+"processes", identity).Result()
	if err != nil {
		return nil, f.refused(err)
	}
	if !member {
		return nil, fmt.Errorf("%s: %w in %s", identity, ErrAbsent, f.where)
	}
	found, err := f.look([]string{identity})
	if err != nil {
		return nil, err
	}
	if in := &found[0]; in.State() == Dead {
		return nil, fmt.Errorf("%s: %w", identity, in.silent())
	}
	return &found[0], nil
}

// Left tells whether an instance that is absent went by itself: Sidekiq takes its name from the list then, and leaves its
// hash to expire. Where Redis has lost its data, there is neither.
func (f *Fleet) Left(identity string) bool {
	ctx, cancel := f.question()
	defer cancel()
	n, err := f.redis.Exists(ctx, f.prefix+identity).Result()
	return err == nil && n > 0
}

// members are the identities that Sidekiq has in its list, the dead among them.
func (f *Fleet) members() ([]string, error) {
	ctx, cancel := f.question()
	defer cancel()
	ids, err := f.redis.SMembers(ctx, f.prefix+"processes").Result()
	if err != nil {
		return nil, f.refused(err)
	}
	slices.Sort(ids)
	return ids, nil
}

// batch is how many instances are asked about at once: the identities of those that were killed may be many.
const batch = 1000

// look reads what these instances said, in a pipeline for each batch.
func (f *Fleet) look(ids []string) ([]Instance, error) {
	all := make([]Instance, 0, len(ids))
	for some := range slices.Chunk(ids, batch) {
		found, err := f.lookAt(some)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (f *Fleet) lookAt(ids []string) ([]Instance, error) {
	ctx, cancel := f.question()
	defer cancel()
	hashes, ttls := make([]*redis.SliceCmd, len(ids)), make([]*redis.DurationCmd, len(ids))
	var now *redis.TimeCmd
	err := f.pipeline(ctx, func(p redis.Pipeliner) {
		now = p.Time(ctx)
		for i, id := range ids {
			hashes[i] = p.HMGet(ctx, f.prefix+id, fields...)
			ttls[i] = p.PTTL(ctx, f.prefix+id)
		}
	})
	if err != nil {
		return nil, err
	}
	found := make([]Instance, len(ids))
	for i, id := range ids {
		found[i] = instance(id, hashes[i].Val(), ttls[i].Val(), now.Val())
	}
	return found, nil
}

// pipeline asks several things at once. What one key answers (that it has another type, say) is no error of all.
func (f *Fleet) pipeline(ctx context.Context, ask func(p redis.Pipeliner)) error {
	p := f.redis.Pipeline()
	ask(p)
	commands, err := p.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, c := range commands {
		if c.Err() == nil || redis.HasErrorPrefix(c.Err(), "WRONGTYPE") {
			continue
		}
		return f.refused(c.Err())
	}
	return nil
}

// instance reads a hash, on the clock of Redis.
func instance(id string, values []any, ttl time.Duration, now time.Time) Instance {
	in := Instance{Identity: id}
	var text [6]string
	for i := range values {
		text[i], _ = values[i].(string)
	}
	var said info
	beat, err := strconv.ParseFloat(text[2], 64)
	last, ok := clock(beat)
	if err != nil || !ok || !said.read(text[0]) {
		return in
	}
	in.known = true
	in.Version, in.Tag, in.Queues, in.Embedded = said.Version, said.Tag, said.Queues, said.Embedded
	in.Concurrency = count(said.Concurrency)
	for _, c := range said.Capsules {
		in.Concurrency += count(c.Concurrency)
	}
	busy, _ := strconv.Atoi(text[1])
	in.Busy = count(busy)
	in.Quiet = text[3] == "true"
	rss, _ := strconv.ParseInt(text[4], 10, 64)
	in.RSS = max(rss, 0)
	if started, ok := clock(said.StartedAt); ok {
		in.Started, in.Age = started, max(now.Sub(started), 0)
	}
	in.Silence = silent(now.Sub(last), ttl)
	in.Claim = parseClaim(text[5], now)
	return in
}

// read reads the JSON. Without a list of queues it is no heartbeat; what else has another type than we know stays zero.
func (i *info) read(text string) bool {
	if err := json.Unmarshal([]byte(text), i); err != nil && !errors.As(err, new(*json.UnmarshalTypeError)) {
		return false
	}
	var must struct{ Queues []*string }
	if json.Unmarshal([]byte(text), &must) != nil || must.Queues == nil || slices.Contains(must.Queues, nil) {
		return false
	}
	i.Queues = i.Queues[:0]
	for _, queue := range must.Queues {
		i.Queues = append(i.Queues, *queue)
	}
	return true
}

// count is a number of threads or jobs that somebody could have.
func count(n int) int { return min(max(n, 0), 1e6) }

// silent is the time since the last heartbeat: by the clock of its host, which may be wrong, and by what is left of
// the lifetime that each heartbeat renews. The longer one counts. Where nobody renewed that, a clock that is ahead is no
// better than one that is behind.
func silent(byClock, ttl time.Duration) time.Duration {
	if ttl > 0 && ttl <= lifetime {
		return max(byClock, lifetime-ttl)
	}
	return max(byClock, -byClock)
}

// clock is a Unix time with a fraction.
func clock(seconds float64) (at time.Time, ok bool) {
	if !(seconds > 0 && seconds < 1e11) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(seconds * 1e6)), true
}
