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

// versions of Sidekiq, each of which writes its heartbeat in another way (facts/sidekiq.md).
var versions = []string{"6.4.1", "7.3.2", "8.1.7"}

// An instance is a Sidekiq as Redis and its watcher see it. A new start has a new identity.
type instance struct {
	redis   *server
	number  int
	version string
	queues  []string

	mu       sync.Mutex // one heartbeat at a time
	rand     *rand.Rand
	starts   int
	identity string
	started  time.Time
	beats    bool
	quiet    bool
}

func newInstance(r *server, number int, queues ...string) *instance {
	return &instance{redis: r, number: number, version: versions[number%len(versions)], queues: queues,
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

// living are the instances whose hearts beat: on a starved machine ours come late, and the machine is no reason to be dead.
const living = "test:living"

// hearts is a heartbeat of all that live, but for what is new: redis-cli sends it every few seconds.
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

// exit is a clean end: the identity goes from the list, its hash lingers. Sidekiq 6 does not stop its heartbeat
// before, so that the dead may come back into the list, quiet.
func (in *instance) exit(ghost bool) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.beats = false
	ctx := context.Background()
	_, err := in.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SRem(ctx, living, in.identity)
		p.SRem(ctx, "processes", in.identity)
		p.Unlink(ctx, in.workKey())
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

// late has Redis know so much as if the last heartbeat of that identity was longer ago than anybody believes in.
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

// write is what Sidekiq writes at each heartbeat: two transactions.
func (in *instance) write(at time.Time) error {
	busy, hset := in.rand.IntN(2), "hset"
	if in.version[0] == '6' {
		hset = "hmset"
	}
	beat := []any{hset, in.identity, "info", in.info(), "busy", busy, "beat", unixText(at), "rtt_us", 300 + in.rand.IntN(300),
		"quiet", strconv.FormatBool(in.quiet), "rss", 30_000 + in.rand.IntN(1_000_000)}
	if in.version[0] == '8' {
		beat = append(beat, "concurrency", 5)
	}
	commands := [][]any{{"multi"}, {"unlink", in.workKey()}}
	if busy > 0 {
		commands = append(commands, []any{"hset", in.workKey(), "92t", in.job(at)}, []any{"expire", in.workKey(), 60})
	}
	commands = append(commands, []any{"exec"}, []any{"multi"}, []any{"sadd", "processes", in.identity}, []any{"exists", in.identity},
		beat, []any{"expire", in.identity, 60}, []any{"rpop", in.identity + "-signals"}, []any{"exec"})
	ctx := context.Background()
	_, err := in.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range commands {
			p.Do(ctx, c...)
		}
		return nil
	})
	return err
}

func (in *instance) workKey() string {
	if in.version[0] == '6' {
		return in.identity + ":workers"
	}
	return in.identity + ":work"
}

func (in *instance) info() string {
	i := map[string]any{"hostname": fmt.Sprintf("host%d", in.number), "started_at": float64(in.started.UnixMicro()) / 1e6,
		"pid": 1000 + in.starts, "tag": "", "queues": in.queues, "labels": []string{}, "identity": in.identity}
	if in.version[0] != '8' {
		i["concurrency"] = 5
	}
	if in.version[0] != '6' {
		weights := map[string]int{}
		for _, queue := range in.queues {
			weights[queue] = 0
		}
		i["weights"], i["version"], i["embedded"] = []any{weights}, in.version, false
		if in.version[0] == '8' {
			i["capsules"] = map[string]any{"default": map[string]any{"concurrency": 5, "mode": "strict", "weights": weights}}
		}
	}
	return asJSON(i)
}

// job is one that runs, as Sidekiq notes it.
func (in *instance) job(at time.Time) string {
	return asJSON(map[string]any{"queue": in.queues[0], "run_at": at.Unix(), "payload": asJSON(map[string]any{"retry": 3,
		"queue": in.queues[0], "class": "SleepJob", "args": []any{1}, "jid": fmt.Sprintf("%024x", in.rand.Uint64())})})
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // there is nothing in it that can't be
	}
	return string(text)
}

// unixText is a Unix time as Ruby's Time.now.to_f.
func unixText(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', -1, 64)
}
