package harness

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// redis [CONF...] starts a redis-server of the script's own; $REDIS_URL is where it is, and $redis its pid.
func redis(ts *testscript.TestScript, args []string) {
	socket := ts.MkAbs("redis.sock")
	ts.Setenv("REDIS_SOCKET", socket)
	ts.Setenv("REDIS_URL", "unix://"+socket)
	ts.Setenv("SIDEKIQ_FLEET_TIMEOUT", Patience.String())
	start(ts, append([]string{"redis", "redis-server"}, serverArgs(socket, ts.MkAbs("."), args)...))
	eventually(ts, "redis-server", func() bool { return redisAnswers(socket) })
	start(ts, []string{"hearts", "redis-cli", "-s", socket, "-r", "-1", "-i", "5", "EVAL", hearts, "0"})
}

// hearts renews what beat has written, as Sidekiq does: a script may take longer than a heartbeat is good for.
const hearts = `for _, id in ipairs(redis.call('SMEMBERS', 'test:hearts')) do
	if redis.call('EXISTS', id) == 1 then
		redis.call('HSET', id, 'beat', redis.call('TIME')[1])
		redis.call('EXPIRE', id, 60)
	end
end`

// redis-cli WORD... asks the Redis of the script; its answer is what stdout has then.
func redisCLI(ts *testscript.TestScript, args []string) {
	ts.Check(ts.Exec("redis-cli", append([]string{"-s", ts.Getenv("REDIS_SOCKET")}, args...)...))
	if out := ts.ReadFile("stdout"); strings.HasPrefix(out, "ERR") || strings.HasPrefix(out, "WRONGTYPE") {
		ts.Fatalf("%s", out)
	}
}

// beat IDENTITY QUEUE,QUEUE... [FIELD VALUE]... writes a heartbeat of now as Sidekiq 7 does, of an instance that started
// 100000 s ago. The field "info.NAME" is one of the JSON; "busy", "rss", "quiet" and others are of the hash. More
// heartbeats follow, but for one of another time ("beat").
func beat(ts *testscript.TestScript, args []string) {
	identity := args[0]
	now := float64(time.Now().UnixMicro()) / 1e6
	info := map[string]any{"started_at": now - 100000, "tag": "shop", "concurrency": 5, "queues": strings.Split(args[1], ","), "version": "7.3.2"}
	hash := []string{"HSET", identity, "busy", "0", "rss", "100000", "quiet", "false", "beat", fmt.Sprintf("%f", now)}
	for rest := args[2:]; len(rest) > 1; rest = rest[2:] {
		if name, ok := strings.CutPrefix(rest[0], "info."); ok {
			var value any
			ts.Check(json.Unmarshal([]byte(rest[1]), &value))
			info[name] = value
			continue
		}
		hash = append(hash, rest[0], rest[1])
	}
	text, err := json.Marshal(info)
	ts.Check(err)
	redisCLI(ts, append(hash, "info", string(text)))
	if !slices.Contains(args[2:], "beat") {
		redisCLI(ts, []string{"SADD", "test:hearts", identity})
		redisCLI(ts, []string{"EXPIRE", identity, "60"})
	}
	redisCLI(ts, []string{"SADD", "processes", identity})
}

// obey IDENTITY... has instances take their signals, as Sidekiq does at a heartbeat: TSTP makes one quiet, by TERM it exits.
// What they got is in the list test:signals.
func obey(ts *testscript.TestScript, args []string) {
	start(ts, append([]string{"obedient", "redis-cli", "-s", ts.Getenv("REDIS_SOCKET"), "-r", "-1", "-i", "0.02", "EVAL", obedience, "0"}, args...))
}

const obedience = `for _, id in ipairs(ARGV) do
	local signal = redis.call('RPOP', id .. '-signals')
	if signal then redis.call('RPUSH', 'test:signals', signal .. ' ' .. id) end
	if signal == 'TSTP' then redis.call('HSET', id, 'quiet', 'true') end
	if signal == 'TERM' then redis.call('SREM', 'processes', id) end
end`
