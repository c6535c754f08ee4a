package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lock is held by one at a time, on whatever host, and ends by itself when it is not renewed.
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

// Lock takes the lock of that name; held tells that another one has it. by is for who asks who that is.
func (f *Fleet) Lock(name, by string, ttl time.Duration) (l *Lock, held string, err error) {
	ctx, cancel := f.question()
	defer cancel()
	l = &Lock{f, f.prefix + "gracekit:lock:" + name, rand.Text() + " " + by, ttl}
	for range 2 { // once more if it ended between the two questions
		err = f.redis.SetArgs(ctx, l.key, l.token, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
		if err == nil {
			return l, "", nil
		}
		if err != redis.Nil {
			return nil, "", f.refused(err)
		}
		held, err = f.redis.Get(ctx, l.key).Result()
		if err == nil {
			break
		}
		if err != redis.Nil {
			return nil, "", f.refused(err)
		}
	}
	_, holder, _ := strings.Cut(held, " ")
	return nil, cmp.Or(holder, "somebody"), nil
}

// Renew makes it last as long again; false if another one has it by now, or nobody.
func (l *Lock) Renew(before time.Time) (bool, error) {
	ctx, cancel := context.WithDeadline(context.Background(), before)
	defer cancel()
	n, err := renewScript.Run(ctx, l.f.redis, []string{l.key}, l.token, l.ttl.Milliseconds()).Int()
	if err != nil {
		return false, l.f.refused(err)
	}
	return n == 1, nil
}

// Unlock gives it back, if it is still ours.
func (l *Lock) Unlock() error {
	ctx, cancel := l.f.question()
	defer cancel()
	if err := unlockScript.Run(ctx, l.f.redis, []string{l.key}, l.token).Err(); err != nil {
		return l.f.refused(err)
	}
	return nil
}
