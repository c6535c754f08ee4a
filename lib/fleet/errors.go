package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

// rights are what a user of Redis needs, as of ACL SETUSER.
const rights = "+@read +@write +@scripting +@transaction +select +time"

func (f *Fleet) errTimeout() error { return fmt.Errorf("%s: no answer within %v", f.where, f.timeout) }

// wrap says why Redis gave no answer, in words that have no password. It is nil for an answer.
func (f *Fleet) wrap(err error) error {
	if err == nil {
		return nil
	}
	where, withTLS, withoutTLS := f.where, "rediss://", "redis://"
	part := &partError{}
	if errors.As(err, &part) {
		where += ": " + part.part + " " + part.address
	}
	if part.part == aSentinel {
		withTLS, withoutTLS = "REDIS_SENTINEL_TLS=1", "REDIS_SENTINEL_TLS=0"
	}
	var reply redis.Error
	var timeout net.Error
	switch isTimeout := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout(); {
	case isTimeout && errors.As(err, &handshakeError{}):
		return fmt.Errorf("%s: no answer to the TLS handshake within %v (a port without TLS needs %s)", where, f.timeout, withoutTLS)
	case isTimeout:
		return fmt.Errorf("%s: no answer within %v", where, f.timeout)
	case errors.Is(err, errNoMaster), errors.Is(err, errTooLarge):
		return fmt.Errorf("%s: %w", where, err)
	case !errors.As(err, &reply):
		closed := "a port for TLS alone, which needs " + withTLS
		if f.secure { // with TLS 1.3 the refusal may be lost, because the server closes the connection right after it
			closed = "a client certificate is required: REDIS_CERT_FILE, REDIS_KEY_FILE"
		}
		return connectionError(where, err, closed, withoutTLS)
	}
	text := scriptError.ReplaceAllString(reply.Error(), "")
	for _, secret := range f.secrets { // an old Redis, or a proxy, quotes commands that it does not know
		text = strings.ReplaceAll(text, secret, "(password)")
	}
	kind, _, _ := strings.Cut(text, " ")
	switch {
	case part.part == aSentinel && strings.HasPrefix(text, "ERR unknown command"):
		return fmt.Errorf("%s is not a Sentinel: %s", where, text)
	case part.part == aSentinel:
		return fmt.Errorf("%s: %s (see REDIS_SENTINEL_USER, REDIS_SENTINEL_PASSWORD)", where, text)
	case kind == "WRONGPASS", strings.HasPrefix(text, "ERR invalid password"):
		return fmt.Errorf("%s refuses the user or password of its URL", where)
	case kind == "NOAUTH", strings.HasPrefix(text, "ERR AUTH <password> called without"):
		return fmt.Errorf("%s and its URL do not agree whether there is a password: %s", where, text)
	case kind == "NOPERM", strings.HasPrefix(text, "ERR The user executing the script can't"):
		return fmt.Errorf("%s: the user of its URL lacks a right: %s (want %s, on Sidekiq's keys and gracekit:*)", where, text, rights)
	case kind == "READONLY":
		return fmt.Errorf("%s is read-only, a replica: nothing was changed", where)
	case kind == "LOADING":
		return fmt.Errorf("%s is still reading its data from disk", where)
	case kind == "MASTERDOWN":
		return fmt.Errorf("%s is a replica that has lost its master", where)
	}
	return fmt.Errorf("%s: %s", where, text)
}

// scriptError is what a Redis before 7 puts before the error of a command in a script, and a later one behind it.
var scriptError = regexp.MustCompile(`^ERR Error running script .*?: -| script: [0-9a-f]+, on @user_script:[0-9]+\.?$`)

// connectionError says why there was no connection, or none on which Redis answers. closed is why one may be closed;
// withoutTLS is what to set for that.
func connectionError(where string, err error, closed, withoutTLS string) error {
	var certificate *tls.CertificateVerificationError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var op *net.OpError
	errors.As(err, &op)
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("%s: cannot verify its TLS certificate: %w", where, name)
	case errors.As(err, &certificate):
		return fmt.Errorf("%s: cannot verify its TLS certificate: %w (REDIS_CA_FILE names the CA)", where, certificate.Err)
	case errors.As(err, &record):
		return fmt.Errorf("%s does not speak TLS (a port without TLS needs %s)", where, withoutTLS)
	case op != nil && op.Op == "remote error": // a TLS alert
		return fmt.Errorf("%s refuses TLS: %w (REDIS_CERT_FILE and REDIS_KEY_FILE name a client certificate)", where, op.Err)
	case op != nil && op.Op == "local error":
		return fmt.Errorf("%s: TLS failed: %w", where, op.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("%s closed the connection without an answer (too many clients, protected mode, or %s)", where, closed)
	case op != nil && op.Err != nil:
		return fmt.Errorf("%s is not available: %w", where, op.Err) // without the address, which the message has already
	case strings.HasPrefix(err.Error(), "tls: "):
		return fmt.Errorf("%s: TLS failed: %s", where, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return fmt.Errorf("%s: the server there is not a Redis", where)
}
