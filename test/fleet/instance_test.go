package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// An instance is a Sidekiq as Redis and its watcher see it. A new start has a new identity.
type instance struct {
	redis  *server
	number int
	queues []string

	mu       sync.Mutex // one heartbeat at a time
	rand     *rand.Rand
	starts   int
	identity string
	started  time.Time
	beats    bool
	quiet    bool
}

func newInstance(r *server, number int, queues ...string) *instance {
	return &instance{redis: r, number: number, queues: queues,
		rand: rand.New(rand.NewPCG(*seed, uint64(number)))}
}

// boot is a new process: it takes jobs from here on.
func (in *instance) boot() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.starts++
	in.identity = fmt.Sprintf("host%d:%d:%012x", in.number, 1000+in.starts, in.rand.Uint64()>>16)
	in.started, in.beats, in.quiet = time.Now(), true, false
	if err := in.redis.SAdd(context.Background(), living, in.identity).Err(); err != nil {
		return err
	}
	return in.write(time.Now())
}

// living are the instances that have heartbeats: on a busy machine ours come late, and that must not make them dead.
const living = "test:living"

// hearts renews the heartbeat of all that live: redis-cli sends it every few seconds.
const hearts = `for _, id in ipairs(redis.call('SMEMBERS', '` + living + `')) do
	if redis.call('EXISTS', id) == 1 then
		local now = redis.call('TIME')
		redis.call('HSET', id, 'beat', now[1] .. '.' .. string.format('%06d', now[2]))
		redis.call('EXPIRE', id, 60)
	end
end`

// beat is a heartbeat.
func (in *instance) beat() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.beats {
		return nil
	}
	return in.write(time.Now())
}

// tstp is the quiet signal. Redis learns of it with the next heartbeat.
func (in *instance) tstp() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.quiet = true
}

// exit is a clean end: the identity is removed from the list, and its hash lingers. Sidekiq 6 does not stop its heartbeat
// before, so that an instance that has exited may come back into the list, quiet.
func (in *instance) exit(ghost bool) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.beats = false
	ctx := context.Background()
	_, err := in.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SRem(ctx, living, in.identity)
		p.SRem(ctx, "processes", in.identity)
		return nil
	})
	if err == nil && ghost {
		err = in.write(time.Now())
	}
	return err
}

// die is the end by KILL: no heartbeat comes any more, and that is all.
func (in *instance) die() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.beats = false
	return in.redis.SRem(context.Background(), living, in.identity).Err()
}

// late lets the last heartbeat of that identity be longer ago than it may be to count as available.
func (in *instance) late(identity string) error {
	ctx := context.Background()
	age := 31 * time.Second
	_, err := in.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, identity, "beat", unixText(time.Now().Add(-age)))
		p.Expire(ctx, identity, time.Minute-age)
		return nil
	})
	return err
}

// write is what Sidekiq 7 writes at each heartbeat, as far as a claim reads it. lib/fleet has the tests of each version.
func (in *instance) write(at time.Time) error {
	info, err := json.Marshal(map[string]any{"started_at": float64(in.started.UnixMicro()) / 1e6, "queues": in.queues})
	if err != nil {
		return err
	}
	ctx := context.Background()
	_, err = in.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, "processes", in.identity)
		p.HSet(ctx, in.identity, "info", info, "beat", unixText(at), "quiet", strconv.FormatBool(in.quiet))
		p.Expire(ctx, in.identity, time.Minute)
		return nil
	})
	return err
}

// unixText is a Unix time as Ruby's Time.now.to_f.
func unixText(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', -1, 64)
}
