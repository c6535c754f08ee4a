package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Why an instance cannot be acted on.
var (
	ErrAbsent    = errors.New("no such instance")
	ErrDead      = errors.New("no heartbeat")
	ErrAmbiguous = errors.New("more than one instance matches")
)

// State is what an instance does.
type State string

const (
	Running State = "running"
	Quiet   State = "quiet"   // it takes no jobs
	Claimed State = "claimed" // it is being restarted, and may be quiet already
	Dead    State = "dead"    // no heartbeat for 60 s
)

// lifetime is how long Sidekiq lets its hash live after each heartbeat (launcher.rb).
const lifetime = 60 * time.Second

// Instance is what one Sidekiq wrote at its last heartbeat.
type Instance struct {
	Identity       string
	Version        string // empty before Sidekiq 7
	Tag            string
	Busy           int
	Concurrency    int
	RSS            int64 // KB; 0: unknown
	Quiet          bool
	Embedded       bool // in another program: it takes no signals
	Queues         []string
	Started        time.Time     // by its own clock; zero: unknown
	Beat           time.Time     // its last heartbeat, by its own clock
	SinceHeartbeat time.Duration // by Redis' clock
	Age            time.Duration // since it started
	Over           time.Duration // since a sweep saw it over its limit first; 0: it did not
	Claim          Claim
	Known          bool // Redis has what it wrote
}

// State is the state of the instance.
func (in *Instance) State() State {
	switch {
	case !in.Known, in.SinceHeartbeat >= lifetime:
		return Dead
	case in.Claim.Left > 0:
		return Claimed
	case in.Quiet:
		return Quiet
	}
	return Running
}

func (in *Instance) errDead() error {
	if !in.Known {
		return fmt.Errorf("%w for more than %v", ErrDead, lifetime)
	}
	return fmt.Errorf("%w for %.0f s", ErrDead, in.SinceHeartbeat.Seconds())
}

// info is the JSON of a heartbeat, as Sidekiq 6 to 8 write it.
type info struct {
	StartedAt   float64   `json:"started_at"` // Unix time, seconds
	Version     string    `json:"version"`
	Tag         string    `json:"tag"`
	Concurrency int       `json:"concurrency"` // not in Sidekiq 8
	Queues      []*string `json:"queues"`
	Embedded    bool      `json:"embedded"`
	Capsules    map[string]struct {
		Concurrency int `json:"concurrency"`
	} `json:"capsules"`
}

// fields of the hash of an instance; the last two are ours.
var fields = []string{"info", "busy", "beat", "quiet", "rss", claimField, overField}

// All is every instance, by identity.
func (f *Fleet) All() ([]Instance, error) {
	ids, err := f.members()
	if err != nil {
		return nil, err
	}
	return f.read(ids)
}

// One is the instance of that identity. The error is ErrAbsent, ErrDead, or why Redis gave no answer.
func (f *Fleet) One(identity string) (*Instance, error) {
	member, err := f.redis.SIsMember(f.ctx, f.prefix+"processes", identity).Result()
	if err != nil {
		return nil, f.wrap(err)
	}
	if !member {
		return nil, fmt.Errorf("%s: %w in %s", identity, ErrAbsent, f.where)
	}
	found, err := f.read([]string{identity})
	if err != nil {
		return nil, err
	}
	if in := &found[0]; in.State() == Dead {
		return nil, fmt.Errorf("%s: %w", identity, in.errDead())
	}
	return &found[0], nil
}

// Left tells whether an instance that is absent has exited by itself: Sidekiq then takes its name from the list, and its
// hash is left to expire. Where Redis has lost its data, there is neither.
func (f *Fleet) Left(identity string) bool {
	n, err := f.redis.Exists(f.ctx, f.prefix+identity).Result()
	return err == nil && n > 0
}

// members are the identities in Sidekiq's list, those of dead instances included.
func (f *Fleet) members() ([]string, error) {
	ids, err := f.redis.SMembers(f.ctx, f.prefix+"processes").Result()
	slices.Sort(ids)
	return ids, f.wrap(err)
}

// batch is how many instances one pipeline asks about: there may be many identities of instances that were killed.
const batch = 1000

// read reads what these instances wrote, in a pipeline for each batch.
func (f *Fleet) read(ids []string) ([]Instance, error) {
	all := make([]Instance, 0, len(ids))
	for some := range slices.Chunk(ids, batch) {
		found, err := f.readBatch(some)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (f *Fleet) readBatch(ids []string) ([]Instance, error) {
	hashes, ttls := make([]*redis.SliceCmd, len(ids)), make([]*redis.DurationCmd, len(ids))
	var now *redis.TimeCmd
	err := f.pipeline(func(p redis.Pipeliner) {
		now = p.Time(f.ctx)
		for i, id := range ids {
			hashes[i] = p.HMGet(f.ctx, f.prefix+id, fields...)
			ttls[i] = p.PTTL(f.ctx, f.prefix+id)
		}
	})
	if err != nil {
		return nil, err
	}
	found := make([]Instance, len(ids))
	for i, id := range ids {
		found[i] = parseInstance(id, hashes[i].Val(), ttls[i].Val(), now.Val())
	}
	return found, nil
}

// pipeline asks several things at once. A key of another type is an error of that key alone.
func (f *Fleet) pipeline(ask func(p redis.Pipeliner)) error {
	p := f.redis.Pipeline()
	ask(p)
	commands, _ := p.Exec(f.ctx)
	for _, c := range commands {
		if err := c.Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return f.wrap(err)
		}
	}
	return nil
}

// parseInstance reads a hash, by the clock of Redis.
func parseInstance(id string, values []any, ttl time.Duration, now time.Time) Instance {
	in := Instance{Identity: id}
	var text [7]string
	for i := range values {
		text[i], _ = values[i].(string)
	}
	var heartbeat info
	seconds, err := strconv.ParseFloat(text[2], 64)
	beat, ok := unixTime(seconds)
	if err != nil || !ok || !heartbeat.parse(text[0]) {
		return in
	}
	in.Known, in.Beat = true, beat
	in.Version, in.Tag, in.Embedded = heartbeat.Version, heartbeat.Tag, heartbeat.Embedded
	in.Queues = make([]string, len(heartbeat.Queues))
	for i, queue := range heartbeat.Queues {
		in.Queues[i] = *queue
	}
	in.Concurrency = clamp(heartbeat.Concurrency)
	for _, c := range heartbeat.Capsules {
		in.Concurrency += clamp(c.Concurrency)
	}
	busy, _ := strconv.Atoi(text[1])
	in.Busy = clamp(busy)
	in.Quiet = text[3] == "true"
	rss, _ := strconv.ParseInt(text[4], 10, 64)
	in.RSS = max(rss, 0)
	if started, ok := unixTime(heartbeat.StartedAt); ok {
		in.Started, in.Age = started, max(now.Sub(started), 0)
	}
	in.SinceHeartbeat = sinceHeartbeat(now.Sub(beat), ttl)
	in.Claim = parseClaim(text[5], now)
	if since, err := strconv.ParseInt(text[6], 10, 64); err == nil {
		in.Over = max(now.Sub(time.UnixMilli(since)), time.Millisecond)
	}
	return in
}

// parse reads the JSON. Without a list of queues it is not a heartbeat; other fields of an unknown type stay zero.
func (i *info) parse(text string) bool {
	err := json.Unmarshal([]byte(text), i)
	if errors.As(err, new(*json.UnmarshalTypeError)) { // of which field is not known, if there are several
		var must struct{ Queues []*string }
		err = json.Unmarshal([]byte(text), &must)
		i.Queues = must.Queues
	}
	return err == nil && i.Queues != nil && !slices.Contains(i.Queues, nil)
}

// clamp bounds a number of threads or jobs to what is possible.
func clamp(n int) int { return min(max(n, 0), 1e6) }

// sinceHeartbeat is the time since the last heartbeat, which renews the lifetime of the hash. What the heartbeat says
// itself is the time of its host, whose clock may be wrong: it counts only where the hash has not that lifetime, and then
// a clock that is ahead is as bad as one that is behind.
func sinceHeartbeat(byClock, ttl time.Duration) time.Duration {
	if ttl > 0 && ttl <= lifetime {
		return lifetime - ttl
	}
	return byClock.Abs()
}

// unixTime is a Unix time with a fraction.
func unixTime(seconds float64) (at time.Time, ok bool) {
	if !(seconds > 0 && seconds < 1e11) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(seconds * 1e6)), true
}
