package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// dialer connects to Redis, or to the master that the Sentinels name at that moment.
type dialer struct {
	net.Dialer
	tls       *tls.Config // nil: without TLS
	sentinels *sentinels  // nil: the address is that of Redis
}

func (d dialer) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	if d.sentinels != nil {
		if addr, err = d.sentinels.find(ctx); err != nil {
			return nil, err
		}
		network = "tcp"
	}
	conn, err = d.DialContext(ctx, network, addr)
	if err == nil && d.tls != nil {
		conn, err = handshake(ctx, conn, addr, d.tls)
	}
	if err != nil {
		if d.sentinels != nil {
			err = &partError{"its master", addr, err}
		}
		return nil, err
	}
	return &boundedConn{Conn: conn, left: maxAnswer}, nil
}

// handshakeError is the error of a TLS handshake.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

// most is most of the time that there is, so that a step of several is known to be the one that took too long.
func most(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/5))
}

func handshake(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	ctx, cancel := most(ctx)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, handshakeError{err}
	}
	return secure, nil
}

// maxAnswer bounds the answer to what was asked at once, in bytes: a field of Redis may have 512 MB.
const maxAnswer = 64 << 20

var errTooLarge = errors.New("the answer is larger than 64 MB")

// boundedConn reads no more than maxAnswer after each write.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Write(b []byte) (int, error) {
	c.left = maxAnswer
	return c.Conn.Write(b)
}

func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLarge
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// sentinels know which Redis is the master.
type sentinels struct {
	master    string // its name
	addresses []string
	options   redis.Options
}

func (s *sentinels) String() string {
	return s.master + " (by Sentinel " + strings.Join(s.addresses, ", ") + ")"
}

// partError is the error of one Sentinel, or of the master that they named.
type partError struct {
	part, address string
	err           error
}

func (e *partError) Error() string { return e.part + " " + e.address + ": " + e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

const aSentinel = "Sentinel"

// errNoMaster is the error if the Sentinels answer that they do not know the master.
var errNoMaster = errors.New("no Sentinel knows a master of that name")

// find asks all Sentinels at once: the first that knows the master decides. If none does, an answer of Redis (a refused
// password) says more than a connection that failed.
func (s *sentinels) find(ctx context.Context) (address string, err error) {
	type answer struct {
		words []string
		err   error
	}
	ctx, cancel := most(ctx)
	defer cancel()
	answers := make(chan answer, len(s.addresses))
	for _, addr := range s.addresses {
		go func() {
			o := s.options
			o.Addr = addr
			client := redis.NewSentinelClient(&o)
			defer client.Close()
			words, err := client.GetMasterAddrByName(ctx, s.master).Result()
			if err == nil && len(words) != 2 {
				err = fmt.Errorf("unexpected answer %q", words)
			}
			if err != nil && err != redis.Nil {
				err = &partError{aSentinel, addr, err}
			}
			answers <- answer{words, err}
		}()
	}
	var reply redis.Error
	for range s.addresses {
		got := <-answers
		switch {
		case got.err == nil:
			return net.JoinHostPort(got.words[0], got.words[1]), nil
		case got.err == redis.Nil:
			err = errNoMaster
		case err == nil || errors.As(got.err, &reply) && err != errNoMaster:
			err = got.err
		}
	}
	return "", err
}
