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

// lockScript lets a lock that is ours last so long; 0 is that it ends.
var lockScript = redis.NewScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

// Lock takes the lock of that name. If another program has it, the lock is nil and holder is the other's name.
func (f *Fleet) Lock(name, as string, ttl time.Duration) (l *Lock, holder string, err error) {
	l = &Lock{f, f.prefix + "gracekit:lock:" + name, rand.Text() + " " + as, ttl}
	var token string
	for range 2 { // once more if it expired between the two questions
		err = f.redis.SetArgs(f.ctx, l.key, l.token, redis.SetArgs{Mode: "NX", TTL: ttl}).Err()
		if err == nil {
			return l, "", nil
		}
		if err != redis.Nil {
			return nil, "", f.wrap(err)
		}
		token, err = f.redis.Get(f.ctx, l.key).Result()
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
	n, err := lockScript.Run(ctx, l.f.redis, []string{l.key}, l.token, l.ttl.Milliseconds()).Int()
	return n == 1, l.f.wrap(err)
}

// Unlock releases the lock, if it is still ours.
func (l *Lock) Unlock() error {
	return l.f.wrap(lockScript.Run(l.f.ctx, l.f.redis, []string{l.key}, l.token, 0).Err())
}
