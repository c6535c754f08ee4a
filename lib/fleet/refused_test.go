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

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

const password = "QzQz-secret"

// refuses tells that every question is refused with that text, in time, and that nothing is written.
// The error is none of those that mean no.
func (s *server) refuses(want string, change func(*Settings)) {
	s.Helper()
	id := identity(1)
	for what, ask := range map[string]func(f *Fleet) error{
		"ps":      func(f *Fleet) error { _, err := f.All(); return err },
		"claim":   func(f *Fleet) error { _, err := f.Claim(request(id)); return err },
		"signal":  func(f *Fleet) error { return f.Signal(id, "TERM") },
		"release": func(f *Fleet) error { return f.Release(id) },
		"lock":    func(f *Fleet) error { _, _, err := f.Lock("x", "me", time.Minute); return err },
	} {
		f := s.fleet(change)
		done := make(chan error, 1)
		f.Begin()
		go func() { done <- ask(f) }()
		select {
		case err := <-done:
			s.refused(what, err, want)
		case <-time.After(f.timeout + patience):
			s.Fatalf("%s: no answer after %v", what, f.timeout+patience)
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

// nothingWritten compares what is there with the heartbeats of two.
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

func at(url string) func(*Settings) {
	return func(to *Settings) { to.URL, to.Variable, to.Timeout = url, "REDIS_URL", patience }
}

func TestRefusedPort(t *testing.T) {
	closed := closedPort(t)
	nowhere(t).refuses("Redis at "+closed+" is not available: connect: connection refused", at("redis://:"+password+"@"+closed))
}

func TestMissingSocket(t *testing.T) {
	socket := t.TempDir() + "/no.sock"
	nowhere(t).refuses("Redis at "+socket+" is not available: connect: no such file or directory", at("unix://"+socket))
}

func TestUnknownHost(t *testing.T) {
	host := strings.Repeat("x", 64) + ".invalid" // longer than a name may be: no name server is asked, or waited for
	nowhere(t).refuses("Redis at "+host+":6379 is not available: lookup "+host, at("redis://"+host))
}

func within(timeout time.Duration) func(*Settings) {
	return func(to *Settings) { to.Timeout = timeout }
}

func TestStoppedRedis(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	s.process.Signal(syscall.SIGSTOP)
	s.refuses("Redis at "+s.socket+": no answer within 200ms", within(200*time.Millisecond))
	s.process.Signal(syscall.SIGCONT)
	s.do("PING")
	s.nothingWritten()
}

func TestServerThatNeverAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, scheme := range []string{"redis", "rediss"} {
		nowhere(t).refuses("no answer within 200ms", func(to *Settings) {
			to.URL, to.Variable, to.Timeout = scheme+"://:"+password+"@"+l.Addr().String(), "REDIS_URL", 200*time.Millisecond
		})
	}
}

func TestPausedRedis(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	s.do("CLIENT", "PAUSE", 3_600_000, "WRITE")
	f := s.fleet(within(300 * time.Millisecond))
	_, err := f.Claim(request(identity(1)))
	s.refused("claim", err, ": no answer within 300ms")
	f.Begin()
	s.refused("signal", f.Signal(identity(1), "TERM"), ": no answer within 300ms")
	s.do("CLIENT", "UNPAUSE")
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
	s.wants(f, request(identity(1)), "")
}

func TestReadOnlyReplica(t *testing.T) {
	master := startRedis(t)
	master.beats(2, everywhere)
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody answers there: it stays without a master
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	master.do("REPLICAOF", host, port)
	f := master.fleet()
	_, err = f.Claim(request(identity(1)))
	want := "Redis at " + master.socket + " is read-only, a replica: nothing was changed"
	master.refused("claim", err, want)
	master.refused("signal", f.Signal(identity(1), "TERM"), want)
	master.refused("release", f.Release(identity(1)), want)
	_, _, err = f.Lock("x", "me", time.Minute)
	master.refused("lock", err, want)
	master.nothingWritten()
	if all, err := f.All(); err != nil || len(all) != 2 { // it can be read
		t.Error(all, err)
	}
	master.do("CONFIG", "SET", "replica-serve-stale-data", "no")
	want = "Redis at " + master.socket + " is a replica that has lost its master"
	_, err = f.All()
	master.refused("ps", err, want)
	_, err = f.Claim(request(identity(1)))
	master.refused("claim", err, want)
	master.refused("signal", f.Signal(identity(1), "TERM"), want)
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
	s.wants(f, request(identity(1)), "")
}

// Redis before 6 knows no HELLO and no names of users.
func TestRedisWithoutHello(t *testing.T) {
	s := startRedis(t, "requirepass "+password, "rename-command HELLO \"\"")
	s.do("AUTH", password)
	id := s.beats(2, everywhere)[0]
	for _, credentials := range []string{":", "default:"} {
		f := s.fleet(func(to *Settings) { to.URL = "unix://" + credentials + password + "@" + s.socket })
		s.wants(f, request(id), "")
	}
	s.refuses("Redis at "+s.socket+" refuses the user or password of its URL", func(to *Settings) { to.URL = "unix://:wrong@" + s.socket })
	s.refuses("and its URL do not agree whether there is a password: NOAUTH", func(*Settings) {})
}

func TestFullMemory(t *testing.T) {
	s := startRedis(t)
	s.beats(2, everywhere)
	s.do("CONFIG", "SET", "maxmemory", "1")
	f := s.fleet()
	_, err := f.Claim(request(identity(1)))
	s.refused("claim", err, ": OOM")
	s.refused("signal", f.Signal(identity(1), "TERM"), ": OOM")
	s.nothingWritten()
}

func TestTooManyClients(t *testing.T) {
	s := startRedis(t, "maxclients 1")
	s.do("PING") // that one is here
	s.refuses("Redis at "+s.socket+" closed the connection without an answer (too many clients,", func(*Settings) {})
}

func TestNoSuchDatabase(t *testing.T) {
	s := startRedis(t)
	s.refuses(": ERR DB index is out of range", func(to *Settings) { to.URL += "?db=99" })
}

func TestLoading(t *testing.T) {
	s := startRedis(t, "enable-debug-command yes", "loading-process-events-interval-bytes 1024", "rdbcompression no")
	pipe := s.redis.Pipeline()
	for i := range 10_000 {
		pipe.Set(context.Background(), fmt.Sprint("k", i), strings.Repeat("x", 1100), 0)
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.do("CONFIG", "SET", "key-load-delay", 100_000) // so that it takes longer than any test
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer client.Close()
	go client.Do(context.Background(), "DEBUG", "RELOAD")
	s.until("it loads", func() bool {
		return strings.HasPrefix(fmt.Sprint(s.redis.Get(context.Background(), "x").Err()), "LOADING")
	})
	s.refuses("Redis at "+s.socket+" is still reading its data from disk", func(*Settings) {})
}

func TestNoRedis(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	host := strings.TrimPrefix(web.URL, "http://")
	nowhere(t).refuses("Redis at "+host+": the server there is not a Redis", at("redis://:"+password+"@"+host))
	nowhere(t).refuses("Redis at "+host+" does not speak TLS (use redis://", at("rediss://:"+password+"@"+host))
}

// answering is a server that says the same to whatever it is asked.
func answering(t *testing.T, answer func(c net.Conn)) (host string) {
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
			go func() { defer c.Close(); answer(c) }()
		}
	}()
	return l.Addr().String()
}

func TestOddAnswers(t *testing.T) {
	echo := answering(t, func(c net.Conn) { io.Copy(c, c) })
	nowhere(t).refuses("Redis at "+echo, at("redis://:"+password+"@"+echo))
	closing := answering(t, func(c net.Conn) {})
	nowhere(t).refuses("Redis at "+closing, at("redis://:"+password+"@"+closing))
	// as Redis 5 and older do with what they do not know
	quoting := answering(t, func(c net.Conn) {
		for buf := make([]byte, 4096); ; {
			if _, err := c.Read(buf); err != nil {
				return
			}
			fmt.Fprintf(c, "-ERR unknown command `AUTH`, with args beginning with: `%s`, \r\n", password)
		}
	})
	nowhere(t).refuses("ERR unknown command `AUTH`, with args beginning with: `(password)`", at("redis://:"+password+"@"+quoting))
}

func TestProtectedMode(t *testing.T) {
	address := ""
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			address = ip.IP.String()
		}
	}
	if address == "" {
		t.Skip("this machine has no address but loopback's, which protected mode lets in")
	}
	s := startRedis(t, "bind "+address, "protected-mode yes")
	port := ""
	s.until("a port that nobody has taken meanwhile", func() bool {
		port = freePort(t, address)
		return s.redis.ConfigSet(context.Background(), "port", port).Err() == nil
	})
	nowhere(t).refuses(" closed the connection without an answer (too many clients, protected mode,", at("redis://"+address+":"+port))
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
