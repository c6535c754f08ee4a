// Package fleet knows all instances of Sidekiq through the Redis that they
// share: what each says of itself at its heartbeat, and which of them may be
// restarted now. Of processes it knows no more than which instance one is.
package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

func init() { redis.SetLogger(silence{}) } // errors are told by whom they reach

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Fleet is all instances of one Redis and namespace.
type Fleet struct {
	redis    *redis.Client
	where    string   // for messages
	prefix   string   // of all keys
	secrets  []string // not for messages
	timeout  time.Duration
	deadline time.Time // for what is asked now
}

// Open makes a fleet; an error is a setting that cannot be. Redis is reached with the first question.
func Open(s Settings) (*Fleet, error) {
	client, address, err := s.connect()
	if err != nil {
		return nil, err
	}
	f := &Fleet{redis: client, where: "Redis at " + address, timeout: s.Timeout}
	for _, secret := range []string{client.Options().Password, s.SentinelPassword} {
		if secret != "" {
			f.secrets = append(f.secrets, secret)
		}
	}
	f.Begin()
	if s.Namespace != "" {
		f.prefix = s.Namespace + ":"
	}
	return f, nil
}

// Close ends the connection.
func (f *Fleet) Close() { f.redis.Close() }

// Where names the Redis, for messages.
func (f *Fleet) Where() string { return f.where }

// Begin starts the time in which all that is asked from now on has to be answered.
func (f *Fleet) Begin() { f.deadline = time.Now().Add(f.timeout) }

// question bounds the time for an answer.
func (f *Fleet) question() (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), f.deadline)
}

// lastMoment is when a script must have run, in ms of Redis' clock. One that a slow Redis comes to later does nothing:
// nobody waits for it any more, and it was said that there is no answer. The other half of the time is the answer's.
func (f *Fleet) lastMoment(ctx context.Context) (int64, error) {
	now, err := f.redis.Time(ctx).Result()
	return now.Add(time.Until(f.deadline) / 2).UnixMilli(), err
}

// late is what a script says that came too late.
const late = "late"

func (f *Fleet) tooLate() error { return fmt.Errorf("%s: no answer within %v", f.where, f.timeout) }

// refused says why there is no answer.
func (f *Fleet) refused(err error) error {
	var said redis.Error
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return f.tooLate()
	case errors.Is(err, redis.Nil): // what a Sentinel says
		return fmt.Errorf("%s: no Sentinel knows a master of that name", f.where)
	case !errors.As(err, &said):
		return f.away(err)
	}
	text := scriptError.ReplaceAllString(said.Error(), "")
	for _, secret := range f.secrets { // an old Redis, or a proxy, quotes what it does not know
		text = strings.ReplaceAll(text, secret, "(password)")
	}
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
	case kind == "MASTERDOWN":
		return fmt.Errorf("%s is a replica that has lost its master", f.where)
	}
	return fmt.Errorf("%s: %s", f.where, text)
}

// scriptError is what a Redis before 7 puts before the error of a command in a script, and a later one behind it.
var scriptError = regexp.MustCompile(`^ERR Error running script .*?: -| script: [0-9a-f]+, on @user_script:[0-9]+\.?$`)

// away says why there was no connection, or none that Redis answers on.
func (f *Fleet) away(err error) error {
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return fmt.Errorf("%s: its certificate is refused: %w (REDIS_CA_FILE names the CA)", f.where, certificate.Err)
	case errors.As(err, &record):
		return fmt.Errorf("%s does not speak TLS (redis:// is without)", f.where)
	case errors.As(err, &alert):
		return fmt.Errorf("%s refuses TLS: %w", f.where, alert)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("%s closed the connection without an answer (too many clients, or in protected mode one of another host)", f.where)
	case errors.As(err, &op) && op.Err != nil:
		return fmt.Errorf("%s is away: %w", f.where, op.Err) // without the address, which has been said
	case strings.HasPrefix(err.Error(), "redis: all sentinels"): // and what is made of that
		return fmt.Errorf("%s: no Sentinel knows a master of that name", f.where)
	}
	return fmt.Errorf("%s: what answers is no Redis", f.where)
}
