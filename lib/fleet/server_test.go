package fleet

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/test/harness"
)

// server is a real redis-server of the test's own.
type server struct {
	*harness.World
	socket  string
	process *harness.Child
	redis   *redis.Client // as default user, whatever the tests do
}

func startRedis(t *testing.T, options ...string) *server {
	t.Helper()
	w := harness.New(t)
	r := w.Redis(options...)
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: r.Socket, Protocol: 2, DisableIdentity: true,
		PipelinePoolSize: -1, DialTimeout: harness.Patience, ReadTimeout: harness.Patience, PoolTimeout: harness.Patience})
	t.Cleanup(func() { client.Close() })
	return &server{w, r.Socket, r.Server, client}
}

// settings are those of a Redis at that URL.
func settings(url string) Settings {
	return Settings{URL: url, Variable: "REDIS_URL", Timeout: harness.Patience}
}

func open(t *testing.T, to Settings) *Fleet {
	t.Helper()
	f, err := Open(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// settings are those of this Redis, with USER:PASSWORD@ or nothing.
func (s *server) settings(credentials string) Settings {
	return settings("unix://" + credentials + s.socket)
}

func (s *server) fleet() *Fleet {
	s.Helper()
	return open(s.T, s.settings(""))
}

// do asks Redis for what must not fail.
func (s *server) do(args ...any) any {
	s.Helper()
	value, err := s.redis.Do(context.Background(), args...).Result()
	if err != nil && err != redis.Nil {
		s.Fatalf("%v: %v", args, err)
	}
	return value
}

func (s *server) exists(key string) bool {
	s.Helper()
	return s.do("EXISTS", key).(int64) == 1
}

// mark is what is noted of a claim, or "".
func (s *server) mark(identity string) string {
	s.Helper()
	text, _ := s.do("HGET", identity, claimField).(string)
	return text
}

// identity is one of many.
func identity(n int) string { return fmt.Sprintf("host:%d:%012x", n, n) }

// beat writes a heartbeat as Sidekiq 7 does, of now, with other fields where some are given.
func (s *server) beat(identity, queues string, fields ...any) {
	s.Helper()
	_, err := s.redis.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
		writeHeartbeat(p, identity, queues, fields...)
		return nil
	})
	s.Check(err)
}

func writeHeartbeat(p redis.Pipeliner, identity, queues string, fields ...any) {
	ctx, now := context.Background(), time.Now()
	p.SAdd(ctx, "processes", identity)
	p.HSet(ctx, identity, "info", infoText(queues, now.Add(-time.Hour)), "busy", 0, "beat", unixText(now), "rss", 100000, "quiet", "false")
	if len(fields) > 0 {
		p.HSet(ctx, identity, fields...)
	}
	p.Expire(ctx, identity, lifetime)
}

// infoText is the JSON of a heartbeat.
func infoText(queues string, started time.Time) string {
	return fmt.Sprintf(`{"hostname":"vm","started_at":%s,"tag":"","concurrency":5,"queues":[%s],"version":"7.3.2"}`, unixText(started), queues)
}

// unixText is a Unix time as Ruby's Time.now.to_f.
func unixText(t time.Time) string { return fmt.Sprintf("%f", float64(t.UnixMicro())/1e6) }

const everywhere = `"default","low"`

// beats writes n heartbeats, and returns their identities.
func (s *server) beats(n int) (ids []string) {
	s.Helper()
	for i := range n {
		ids = append(ids, identity(i+1))
		s.beat(ids[i], everywhere)
	}
	return ids
}

// The main thread is main's alone: its name is that of the process.
func init() { runtime.LockOSThread() }

// becomeSidekiq starts a thread of that name in this process, which makes it a Sidekiq. The name is what identities with
// its hostname and pid begin with.
func becomeSidekiq(t *testing.T, thread string) (p *proc.Process, name string) {
	t.Helper()
	named, done := make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := os.WriteFile("/proc/thread-self/comm", []byte(thread), 0); err != nil {
			panic(err)
		}
		named <- unix.Gettid()
		<-done
	}()
	task := fmt.Sprintf("/proc/self/task/%d", <-named)
	t.Cleanup(func() {
		close(done)
		for _, err := os.Stat(task); err == nil; _, err = os.Stat(task) {
			time.Sleep(time.Millisecond)
		}
	})
	p, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	t.Setenv("DYNO", "")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return p, fmt.Sprintf("%s:%d:", host, p.ID.PID)
}
