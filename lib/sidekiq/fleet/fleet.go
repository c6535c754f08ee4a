// Package fleet knows all instances of Sidekiq through the Redis that they
// share: what each says of itself at its heartbeat, and which of them may be
// restarted now. Of processes it knows no more than which instance one is.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

func init() { redis.SetLogger(silence{}) } // errors are told by whom they reach

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Fleet is all instances of one Redis and namespace.
type Fleet struct {
	redis   *redis.Client
	where   string // for messages
	prefix  string // of all keys
	timeout time.Duration
}

// Open makes a fleet; an error is a setting that cannot be. Redis is reached with the first question.
func Open(s Settings) (*Fleet, error) {
	client, address, err := s.connect()
	if err != nil {
		return nil, err
	}
	f := &Fleet{redis: client, where: "Redis at " + address, timeout: s.Timeout}
	if s.Namespace != "" {
		f.prefix = s.Namespace + ":"
	}
	return f, nil
}

// Close ends the connection.
func (f *Fleet) Close() { f.redis.Close() }

// Where names the Redis, for messages.
func (f *Fleet) Where() string { return f.where }

// question bounds the time for an answer.
func (f *Fleet) question() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), f.timeout)
}

// refused says why there is no answer.
func (f *Fleet) refused(err error) error {
	var said redis.Error
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s: no answer within %v", f.where, f.timeout)
	case !errors.As(err, &said):
		return fmt.Errorf("%s is away: %w", f.where, root(err))
	}
	text := said.Error()
	kind, _, _ := strings.Cut(text, " ")
	switch {
	case kind == "WRONGPASS", strings.HasPrefix(text, "ERR invalid password"):
		return fmt.Errorf("%s refuses the user or password of its URL", f.where)
	case kind == "NOAUTH", strings.HasPrefix(text, "ERR AUTH <password> called without"):
		return fmt.Errorf("%s and its URL do not agree whether there is a password: %s", f.where, text)
	case kind == "READONLY":
		return fmt.Errorf("%s is read-only, a replica: nothing was changed", f.where)
	case kind == "LOADING":
		return fmt.Errorf("%s is still reading its data from disk", f.where)
	}
	return fmt.Errorf("%s: %s", f.where, text)
}

// root is what the kernel said, without the address, which has been said.
func root(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
