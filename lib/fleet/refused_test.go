package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const password = "QzQz-secret"

// refuses asks Redis in each way: the error has that text, comes in time, and is none of those that mean no.
func (s *server) refuses(want string, change func(*Settings)) {
	s.Helper()
	id, answers := identity(1), map[string]chan error{}
	for what, ask := range map[string]func(f *Fleet) error{
		"ps":      func(f *Fleet) error { _, err := f.All(); return err },
		"claim":   func(f *Fleet) error { _, err := f.Claim(request(id)); return err },
		"signal":  func(f *Fleet) error { return f.Signal(id, "TERM") },
		"release": func(f *Fleet) error { return f.Release(id) },
		"lock":    func(f *Fleet) error { _, _, err := f.Lock("x", "me", time.Minute); return err },
	} {
		f := s.fleet(change)
		f.Begin()
		answer := make(chan error, 1)
		answers[what] = answer
		go func() { answer <- ask(f) }()
	}
	limit := time.After(2 * patience)
	for what, answer := range answers {
		select {
		case err := <-answer:
			s.refused(what, err, want)
		case <-limit:
			s.Fatalf("%s: no answer", what)
		}
	}
}

func (s *server) refused(what string, err error, want string) {
	s.Helper()
	switch {
	case err == nil || !strings.Contains(err.Error(), want):
		s.Errorf("%s: %v, want %s", what, err, want)
	case errors.Is(err, ErrNotNow) || errors.Is(err, ErrAbsent) || errors.Is(err, ErrDead) || errors.Is(err, ErrAmbiguous):
		s.Errorf("%s: %v means no", what, err)
	case strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "\n"):
		s.Errorf("%s: %q", what, err)
	}
}

// nothingWritten checks that there are the heartbeats of two, and nothing else.
func (s *server) nothingWritten() {
	s.Helper()
	keys, err := s.redis.Keys(context.Background(), "*").Result()
	if err != nil {
		s.Fatal(err)
	}
	if len(keys) != 3 || s.mark(identity(1)) != "" {
		s.Errorf("written: %v", keys)
	}
}

func nowhere(t *testing.T) *server { return &server{T: t} }

func within(timeout time.Duration) func(*Settings) {
	return func(to *Settings) { to.Timeout = timeout }
}

// serve listens, and does that with each connection.
func serve(t *testing.T, do func(c net.Conn)) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); do(c) }()
		}
	}()
	return l.Addr().String()
}

// Where there is no Redis, the message says what there is.
func TestWhatIsNotARedis(t *testing.T) {
	closed := closedPort(t)
	socket := t.TempDir() + "/no.sock"
	host := strings.Repeat("x", 64) + ".invalid" // longer than a name may be: no name server is asked, or waited for
	silent := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	closing := serve(t, func(c net.Conn) { c.Read(make([]byte, 1)) })
	echo := serve(t, func(c net.Conn) { io.Copy(c, c) })
	quoting := serve(t, func(c net.Conn) { // as Redis 5 and older do with what they do not know
		for buf := make([]byte, 4096); ; {
			if _, err := c.Read(buf); err != nil {
				return
			}
			fmt.Fprintf(c, "-ERR unknown command `AUTH`, with args beginning with: `%s`, \r\n", password)
		}
	})
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	web := strings.TrimPrefix(other.URL, "http://")
	for url, want := range map[string]string{
		"redis://:" + password + "@" + closed:  "Redis at " + closed + " is not available: connect: connection refused",
		"unix://" + socket:                     "Redis at " + socket + " is not available: connect: no such file or directory",
		"redis://" + host:                      "Redis at " + host + ":6379 is not available: lookup " + host,
		"redis://:" + password + "@" + web:     "Redis at " + web + ": the server there is not a Redis",
		"rediss://:" + password + "@" + web:    "Redis at " + web + " does not speak TLS (a port without TLS needs redis://)",
		"redis://:" + password + "@" + silent:  "Redis at " + silent + ": no answer within 1s",
		"rediss://:" + password + "@" + silent: "Redis at " + silent + ": no answer to the TLS handshake within 1s (a port without TLS needs redis://)",
		"redis://" + closing:                   "Redis at " + closing + " closed the connection without an answer (too many clients, protected mode, or a port for TLS alone, which needs rediss://)",
		"redis://:" + password + "@" + echo:    "Redis at " + echo,
		"redis://:" + password + "@" + quoting: "ERR unknown command `AUTH`, with args beginning with: `(password)`",
	} {
		nowhere(t).refuses(want, func(to *Settings) {
			to.URL, to.Variable, to.Timeout = url, "REDIS_URL", patience
			if strings.Contains(want, "within 1s") {
				to.Timeout = time.Second
			}
		})
	}
}

func TestStoppedRedis(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	s.process.Signal(syscall.SIGSTOP)
	s.refuses("Redis at "+s.socket+": no answer within 1s", within(time.Second))
	s.process.Signal(syscall.SIGCONT)
	s.do("PING")
	s.nothingWritten()
}

// One timeout is for all the questions of a command together.
func TestTimeoutIsForAllQuestions(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	f := s.fleet(within(time.Hour))
	f.deadline = time.Now().Add(-time.Second)
	s.refused("claim", func() error { _, err := f.Claim(request(identity(1))); return err }(), ": no answer within 1h0m0s")
	s.nothingWritten()
	f.Begin()
	s.claims(f, request(identity(1)), "")
}

// A Redis that does not write now says so, also inside a script, and can be read.
func TestRedisThatDoesNotWrite(t *testing.T) {
	replica, full := startRedis(t), startRedis(t)
	port := closedPort(t)
	for _, c := range []struct {
		s    *server
		do   []any
		want string
	}{
		{replica, []any{"REPLICAOF", "127.0.0.1", port[strings.LastIndexByte(port, ':')+1:]}, " is read-only, a replica: nothing was changed"},
		{full, []any{"CONFIG", "SET", "maxmemory", "1"}, ": OOM command not allowed when used memory > 'maxmemory'."},
	} {
		c.s.beats(2, everywhere)
		c.s.do(c.do...)
		f, want := c.s.fleet(), "Redis at "+c.s.socket+c.want
		_, err := f.Claim(request(identity(1)))
		c.s.refused("claim", err, want)
		c.s.refused("signal", f.Signal(identity(1), "TERM"), want)
		c.s.nothingWritten()
		if all, err := f.All(); err != nil || len(all) != 2 {
			t.Error(all, err)
		}
	}
	replica.do("CONFIG", "SET", "replica-serve-stale-data", "no")
	_, err := replica.fleet().All()
	replica.refused("ps", err, "Redis at "+replica.socket+" is a replica that has lost its master")
}

func TestPasswords(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	s.do("ACL", "SETUSER", "reader", "on", ">"+password, "~*", "+hello", "+auth", "+smembers", "+sismember")
	s.do("CONFIG", "SET", "requirepass", "other")
	s.redis.Do(context.Background(), "AUTH", "other") // the pool's connection stays
	for _, credentials := range []string{":" + password, "reader:wrong", "nobody:" + password, password} {
		s.refuses("Redis at "+s.socket+" refuses the user or password of its URL", func(to *Settings) { to.URL = "unix://" + credentials + "@" + s.socket })
	}
	s.refuses("and its URL do not agree whether there is a password", func(*Settings) {})
	s.refuses(": NOPERM", func(to *Settings) { to.URL = "unix://reader:" + password + "@" + s.socket })
	s.nothingWritten()
	s.do("ACL", "SETUSER", "reader", "+@all")
	f := s.fleet(func(to *Settings) { to.URL = "unix://reader:" + password + "@" + s.socket })
	s.claims(f, request(identity(1)), "")
}

// A user with the rights that the messages and the page name can do everything.
func TestRights(t *testing.T) {
	s := startRedis(t)
	acl := []any{"ACL", "SETUSER", "some", "on", ">" + password, "~*", "nocommands"}
	for _, right := range strings.Fields(rights) {
		acl = append(acl, right)
	}
	s.do(acl...)
	s.do("SELECT", 3)
	other := s.beats(2, everywhere)[0]
	p, name := startSidekiq(t, "heartbeat")
	id := name + "00000000000a"
	s.beat(id, everywhere, startedAt(time.Now())...)
	s.do("RPUSH", "queue:default", payload("j", 900))
	f := s.fleet(func(to *Settings) { to.URL = "unix://some:" + password + "@" + s.socket + "?db=3" })
	s.claims(f, request(other), "")
	e, err := f.NewEvidence(id, p)
	if err != nil {
		t.Fatal(err)
	}
	record, errFinish := e.Finish()
	_, errRemember := e.Remember(record)
	_, errRenew := f.Renew(other, "web-1", time.Hour)
	_, errBury := f.Bury(RanJob{JID: "j", Queue: "default"})
	_, errWithdraw := f.Withdraw(id, "TSTP")
	_, errResolve := f.Resolve(p)
	_, errJobs := f.Jobs(other)
	l, _, errLock := f.Lock("x", "me", time.Minute)
	if err := errors.Join(errFinish, errRemember, errRenew, errBury, errWithdraw, errResolve, errJobs, errLock,
		f.Signal(id, "TSTP"), f.RenewSignals(id), f.Release(other), f.NoteOver(id), f.NoteUnder(id)); err != nil {
		t.Fatal(err)
	}
	_, errRenew = l.Renew(time.Now().Add(patience))
	if err := errors.Join(errRenew, l.Unlock()); err != nil {
		t.Error(err)
	}
}

// Redis before 6 knows no HELLO and no names of users.
func TestRedisWithoutHello(t *testing.T) {
	s := startRedis(t, "requirepass "+password, "rename-command HELLO \"\"")
	s.do("AUTH", password)
	id := s.beats(2, everywhere)[0]
	for _, credentials := range []string{":", "default:"} {
		f := s.fleet(func(to *Settings) { to.URL = "unix://" + credentials + password + "@" + s.socket })
		s.claims(f, request(id), "")
	}
	s.refuses("Redis at "+s.socket+" refuses the user or password of its URL", func(to *Settings) { to.URL = "unix://:wrong@" + s.socket })
	s.refuses("and its URL do not agree whether there is a password: NOAUTH", func(*Settings) {})
}

func TestNoSuchDatabase(t *testing.T) {
	s := startRedis(t)
	s.refuses(": ERR DB index is out of range", func(to *Settings) { to.URL += "?db=99" })
}

// loopback is one of two addresses of this machine that no other process uses, so that nobody takes their free ports.
func loopback(n int) string {
	pid := os.Getpid() // of 22 bits
	return net.IPv4(127, byte(64*(1+n)+pid>>16), byte(pid>>8), byte(pid)).String()
}

func freePort(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// closedPort is an address that is taken, and that nobody answers at.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", name.(*unix.SockaddrInet4).Port)
}

// What Redis says of an error in a script is read like that of any command: before 7 it puts something before it, from 7
// on behind it.
func TestErrorsInScripts(t *testing.T) {
	f := &Fleet{where: "Redis at x"}
	for text, want := range map[string]string{
		"ERR Error running script (call to f_0123): @user_script:60: @user_script: 60: -READONLY You can't write against a read only replica.": "Redis at x is read-only, a replica: nothing was changed",
		"ERR Error running script (call to f_0123): @user_script:60: @user_script: 60: -OOM command not allowed":                               "Redis at x: OOM command not allowed",
		"OOM command not allowed when used memory > 'maxmemory'. script: 4fa678eb67b564984b6dc2a198d6752985edc014, on @user_script:79.":        "Redis at x: OOM command not allowed when used memory > 'maxmemory'.",
		"LOADING Redis is loading the dataset in memory":                                                           "Redis at x is still reading its data from disk",
		"NOPERM this user has no permissions to run the 'time' command":                                            "Redis at x: the user of its URL lacks a right: NOPERM this user has no permissions to run the 'time' command (want " + rights + ", on Sidekiq's keys and gracekit:*)",
		"ERR The user executing the script can't run this command or subcommand script: 0b1f, on @user_script:29.": "Redis at x: the user of its URL lacks a right: ERR The user executing the script can't run this command or subcommand (want " + rights + ", on Sidekiq's keys and gracekit:*)",
		"ERR invalid password": "Redis at x refuses the user or password of its URL",
		"ERR AUTH <password> called without any password configured for the default user": "Redis at x and its URL do not agree whether there is a password: ERR AUTH <password> called without any password configured for the default user",
	} {
		if got := f.wrap(replied(text)); got.Error() != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

type replied string

func (r replied) Error() string { return string(r) }
func (r replied) RedisError()   {}

// An error that Redis makes inside a script is an error of its own, and never an instance without a heartbeat.
func TestErrorsOfTheCommandsOfAScript(t *testing.T) {
	s := startRedis(t)
	ids := s.beats(2, everywhere)
	s.do("ACL", "SETUSER", "some", "on", ">"+password, "+@all", "~processes", "~"+ids[0])
	f := s.fleet(func(to *Settings) { to.URL = "unix://some:" + password + "@" + s.socket })
	_, err := f.Claim(request(ids[0])) // the other one's hash is not for this user
	s.refused("claim", err, "can't access at least one of the keys")
	_, err = f.Claim(request(ids[1]))
	s.refused("claim", err, "can't access at least one of the keys")
	s.nothingWritten()
}

// A field of Redis may have 512 MB: the answer is not taken into memory.
func TestAnswersAreBounded(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	s.do("SETRANGE", "large", maxAnswer, "x")
	s.do("EVAL", "redis.call('HSET', KEYS[2], 'info', redis.call('GET', KEYS[1]))", 2, "large", identity(1))
	f := s.fleet()
	_, err := f.All()
	s.refused("ps", err, "Redis at "+s.socket+": the answer is larger than 64 MB")
	s.do("HSET", identity(1), "info", "{}")
	f.Begin()
	if all, err := f.All(); err != nil || len(all) != 2 {
		t.Error(all, err)
	}
}
