package fleet

import (
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed signal.lua
var signalLua string

var signalScript = redis.NewScript(signalLua)

// Signal asks an instance to send itself a signal, TSTP or TERM, as Sidekiq's own Web UI does: it reads them once
// a heartbeat. The error is ErrAbsent, ErrDead, or why Redis gave no answer.
func (f *Fleet) Signal(identity, name string) error {
	in, err := f.One(identity)
	if err != nil {
		return err
	}
	if in.Embedded {
		return fmt.Errorf("%s: %w: it is embedded in another program and takes no signals through Redis: restart that program on its host", identity, ErrUnsatisfiable)
	}
	_, err = f.runInTime(signalScript, []string{f.prefix + identity + "-signals"}, name, int(lifetime.Seconds()))
	return err
}

// RenewSignals lets the signals that were not taken yet live as long again: one that has expired looks as if it was taken.
func (f *Fleet) RenewSignals(identity string) error {
	return f.wrap(f.redis.Expire(f.ctx, f.prefix+identity+"-signals", lifetime).Err())
}

// Withdraw takes back a signal that was not taken yet, and tells whether there was one.
func (f *Fleet) Withdraw(identity, name string) (bool, error) {
	n, err := f.redis.LRem(f.ctx, f.prefix+identity+"-signals", 0, name).Result()
	return n > 0, f.wrap(err)
}
