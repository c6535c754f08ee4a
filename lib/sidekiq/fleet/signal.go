package fleet

import (
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Signal asks an instance to send itself a signal, TSTP or TERM, as Sidekiq's own Web UI does: it looks once a
// heartbeat. The error is ErrAbsent, ErrDead, or why Redis gave no answer.
func (f *Fleet) Signal(identity, name string) error {
	in, err := f.One(identity)
	if err != nil {
		return err
	}
	if in.Embedded {
		return fmt.Errorf("%s: %w: it is embedded in another program, and takes no signals", identity, ErrNotNow)
	}
	ctx, cancel := f.question()
	defer cancel()
	key := f.prefix + identity + "-signals"
	_, err = f.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LPush(ctx, key, name)
		p.Expire(ctx, key, lifetime)
		return nil
	})
	if err != nil {
		return f.refused(err)
	}
	return nil
}

// Withdraw takes back a signal that was not taken yet, and tells whether there was one.
func (f *Fleet) Withdraw(identity, name string) (bool, error) {
	ctx, cancel := f.question()
	defer cancel()
	n, err := f.redis.LRem(ctx, f.prefix+identity+"-signals", 0, name).Result()
	if err != nil {
		return false, f.refused(err)
	}
	return n > 0, nil
}
