package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lock is held by one program at a time, on whatever host, and expires when it is not renewed.
type Lock struct {
	f          *Fleet
	key, token string
	ttl        time.Duration
}

var (
	renewScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)
	unlockScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// Lock takes the lock of that name. If another program has it, the lock is nil and holder is the other's name.
func (f *Fleet) Lock(name, as string, ttl time.Duration) (l *Lock, holder string, err error) {
	ctx, cancel := f.context()
	defer cancel()
	l = &Lock{f, f.prefix + "gracekit:lock:" + name, rand.Text() + " " + as, ttl}
	var token string
	for range 2 { // once more if it expired between the two questions
		err = f.redis.SetArgs(ctx, l.key, l.token, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
		if err == nil {
			return l, "", nil
		}
		if err != redis.Nil {
			return nil, "", f.wrap(err)
		}
		token, err = f.redis.Get(ctx, l.key).Result()
		if err == nil {
			break
		}
		if err != redis.Nil {
			return nil, "", f.wrap(err)
		}
	}
	_, holder, _ = strings.Cut(token, " ")
	return nil, cmp.Or(holder, "unknown"), nil
}

// Renew lets the lock last as long again; false if it is another's by now, or nobody's.
func (l *Lock) Renew(deadline time.Time) (bool, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	n, err := renewScript.Run(ctx, l.f.redis, []string{l.key}, l.token, l.ttl.Milliseconds()).Int()
	if err != nil {
		return false, l.f.wrap(err)
	}
	return n == 1, nil
}

// Unlock releases the lock, if it is still ours.
func (l *Lock) Unlock() error {
	ctx, cancel := l.f.context()
	defer cancel()
	if err := unlockScript.Run(ctx, l.f.redis, []string{l.key}, l.token).Err(); err != nil {
		return l.f.wrap(err)
	}
	return nil
}
