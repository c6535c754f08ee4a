// Package fleet knows all instances of Sidekiq through the Redis that they
// share: what each wrote at its last heartbeat, and which of them may be
// restarted now. Of processes it knows only which instance one is.
package fleet

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

func init() { redis.SetLogger(noLog{}) } // errors are returned, and printed by the caller

type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

// Fleet is all instances of one Redis and namespace.
type Fleet struct {
	redis    *redis.Client
	where    string   // for messages
	prefix   string   // of all keys
	secrets  []string // left out of messages
	secure   bool     // by TLS
	timeout  time.Duration
	deadline time.Time       // of all questions since Begin
	ctx      context.Context // with that deadline
	cancel   context.CancelFunc
}

// Open makes a fleet; an error is an invalid setting. Redis is reached with the first question.
func Open(s Settings) (*Fleet, error) {
	client, address, err := s.connect()
	if err != nil {
		return nil, err
	}
	f := &Fleet{redis: client, where: "Redis at " + address, timeout: s.Timeout, cancel: func() {}}
	for _, secret := range []string{client.Options().Password, s.SentinelPassword} {
		if secret != "" {
			f.secrets = append(f.secrets, secret)
		}
	}
	f.secure = strings.HasPrefix(s.URL, "rediss:")
	f.Begin()
	if s.Namespace != "" {
		f.prefix = s.Namespace + ":"
	}
	return f, nil
}

// Close ends the connection.
func (f *Fleet) Close() {
	f.cancel()
	f.redis.Close()
}

// Where names the Redis, for messages.
func (f *Fleet) Where() string { return f.where }

// Begin starts the time within which all that is asked from now on must be answered.
func (f *Fleet) Begin() { f.beginUntil(time.Now().Add(f.timeout)) }

func (f *Fleet) beginUntil(deadline time.Time) {
	f.cancel()
	f.deadline = deadline
	f.ctx, f.cancel = context.WithDeadline(context.Background(), deadline)
}

// runInTime runs a script with its deadline, in ms of Redis' clock, as the last argument. When a slow Redis comes to it
// after that, the script does nothing, because its caller has reported by then that there is no answer. The second half
// of the time is for the answer.
func (f *Fleet) runInTime(script *redis.Script, keys []string, args ...any) (answer string, err error) {
	now, err := f.redis.Time(f.ctx).Result()
	if err == nil {
		deadline := now.Add(time.Until(f.deadline) / 2).UnixMilli()
		answer, err = script.Run(f.ctx, f.redis, keys, append(args, deadline)...).Text()
	}
	switch {
	case err != nil:
		return "", f.wrap(err)
	case answer == "late":
		return "", f.errTimeout()
	}
	return answer, nil
}
