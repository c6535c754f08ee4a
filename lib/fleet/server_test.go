package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long an event may take on a busy machine before a test gives up.
const patience = 2 * time.Minute

// server is a real redis-server of the test's own, on a unix socket, without persistence.
type server struct {
	*testing.T
	dir, socket string
	process     *os.Process
	redis       *redis.Client // as default user, whatever the tests do
}

func startRedis(t *testing.T, conf ...string) *server {
	t.Helper()
	file, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed (test/run installs it)")
	}
	dir, err := os.MkdirTemp("", "fleet") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{T: t, dir: dir, socket: filepath.Join(dir, "redis.sock")}
	text := "port 0\nsave \"\"\nappendonly no\ndaemonize no\nset-proc-title no\nunixsocket " + s.socket + "\ndir " + dir + "\n" +
		strings.Join(conf, "\n") + "\n"
	if err := os.WriteFile(s.path("redis.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.process = s.run(file, s.path("redis.conf"))
	s.redis = redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, Protocol: 2, DisableIdentity: true, MaxRetries: -1,
		DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience})
	t.Cleanup(func() { s.redis.Close() })
	s.until("redis-server answers", func() bool {
		err := s.redis.Ping(context.Background()).Err()
		return err == nil || errors.As(err, new(redis.Error))
	})
	return s
}

// run starts a program in a process group of its own, to be killed at the end.
func (s *server) run(argv ...string) *os.Process {
	s.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

// until waits for what has no event of its own.
func (s *server) until(what string, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func (s *server) settings() Settings {
	return Settings{URL: "unix://" + s.socket, Variable: "REDIS_URL", Timeout: patience}
}

// fleet is that of this Redis; change may have other settings.
func (s *server) fleet(change ...func(*Settings)) *Fleet {
	s.Helper()
	settings := s.settings()
	for _, f := range change {
		f(&settings)
	}
	f, err := Open(settings)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(f.Close)
	return f
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

// mark is what is noted of a claim.
func (s *server) mark(identity string) string {
	s.Helper()
	text, err := s.redis.HGet(context.Background(), identity, claimField).Result()
	if err != nil && err != redis.Nil {
		s.Fatal(err)
	}
	return text
}

// identity is one of many.
func identity(n int) string { return fmt.Sprintf("host:%d:%012x", n, n) }

// beat writes a heartbeat as Sidekiq 7 does, of now, with other fields where some are given.
func (s *server) beat(identity string, queues string, fields ...any) {
	s.Helper()
	now := float64(time.Now().UnixMicro()) / 1e6
	info := fmt.Sprintf(`{"hostname":"vm","started_at":%f,"tag":"","concurrency":5,"queues":[%s],"version":"7.3.2"}`, now-3600, queues)
	s.do("SADD", "processes", identity)
	s.do("HSET", identity, "info", info, "busy", 0, "beat", fmt.Sprintf("%f", now), "rss", 100000, "quiet", "false")
	s.do("EXPIRE", identity, 60)
	if len(fields) > 0 {
		s.do(append([]any{"HSET", identity}, fields...)...)
	}
}

// late lets the last heartbeat be so long ago.
func (s *server) late(identity string, since time.Duration) {
	s.Helper()
	s.do("PEXPIRE", identity, (lifetime - since).Milliseconds())
}

// beats writes n heartbeats, and is their identities.
func (s *server) beats(n int, queues string) (ids []string) {
	s.Helper()
	for i := range n {
		ids = append(ids, identity(i+1))
		s.beat(ids[i], queues)
	}
	return ids
}
