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
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gracekit/test/harness"
)

const password = "QzQz-secret"

// noAnswer compares an error, which must not mean no, nor have the password in it.
func noAnswer(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil || !strings.Contains(err.Error(), want):
		t.Errorf("%v, want %s", err, want)
	case errors.Is(err, ErrNotNow) || errors.Is(err, ErrAbsent) || errors.Is(err, ErrDead) || errors.Is(err, ErrAmbiguous):
		t.Errorf("%v means no", err)
	case strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "\n"):
		t.Errorf("%q", err)
	}
}

// fails asks Redis.
func fails(t *testing.T, to Settings, want string) {
	t.Helper()
	_, err := open(t, to).Claim(request(identity(1)))
	noAnswer(t, err, want)
}

// nothingWritten checks that there are the heartbeats of two, and nothing else.
func (s *server) nothingWritten() {
	s.Helper()
	if keys := s.redis.Keys(context.Background(), "*").Val(); len(keys) != 3 || s.mark(identity(1)) != "" {
		s.Errorf("written: %v", keys)
	}
}

// serve listens, and does that with each connection.
func serve(t *testing.T, do func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go func() { defer c.Close(); do(c) }()
		}
	}()
	return l.Addr().String()
}

// loopback is one of two addresses of this machine that no other process uses.
func loopback(n int) string {
	pid := os.Getpid() // of 22 bits
	return net.IPv4(127, byte(64*(1+n)+pid>>16), byte(pid>>8), byte(pid)).String()
}

// closed is an address that nobody listens at.
var closed = loopback(0) + ":1"

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", loopback(0)+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Where there is no Redis, the message says what there is.
func TestWhatIsNotARedis(t *testing.T) {
	socket := t.TempDir() + "/no.sock"
	host := strings.Repeat("x", 64) + ".invalid" // longer than a name may be: no name server is asked, or waited for
	silent := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	closing := serve(t, func(c net.Conn) { c.Read(make([]byte, 1)) })
	echo := serve(t, func(c net.Conn) { io.Copy(c, c) })
	quoting := serve(t, func(c net.Conn) { // as Redis 5 and older do with what they do not know
		buf := make([]byte, 4096)
		for _, err := c.Read(buf); err == nil; _, err = c.Read(buf) {
			fmt.Fprintf(c, "-ERR unknown command `AUTH`, with args beginning with: `%s`, \r\n", password)
		}
	})
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	web := strings.TrimPrefix(other.URL, "http://")
	for url, want := range map[string]string{
		"redis://:PW@" + closed:                   "Redis at " + closed + " is not available: connect: connection refused",
		"unix://" + socket:                        "Redis at " + socket + " is not available: connect: no such file or directory",
		"redis://" + host:                         "Redis at " + host + ":6379 is not available: lookup " + host,
		"redis://:PW@" + web:                      "Redis at " + web + ": the server there is not a Redis",
		"rediss://:PW@" + web:                     "Redis at " + web + " does not speak TLS (a port without TLS needs redis://)",
		"redis://:PW@" + silent:                   "Redis at " + silent + ": no answer within 1s",
		"rediss://:PW@" + silent:                  "Redis at " + silent + ": no answer to the TLS handshake within 1s (a port without TLS needs redis://)",
		"redis://" + silent + "?master_name=shop": "Sentinel " + silent + ": no answer within 1s",
		"redis://" + closing:                      "Redis at " + closing + " closed the connection without an answer (too many clients, protected mode, or a port for TLS alone, which needs rediss://)",
		"redis://:PW@" + echo:                     "Redis at " + echo,
		"redis://:PW@" + quoting:                  "ERR unknown command `AUTH`, with args beginning with: `(password)`",
	} {
		to := settings(strings.Replace(url, "PW", password, 1))
		if strings.Contains(want, "within 1s") {
			to.Timeout = time.Second
		}
		fails(t, to, want)
	}
}

// Whatever a Redis is asked that has stopped: it is no answer, in time, and nothing is written when it goes on. One timeout
// is for all the questions of a command together.
func TestStoppedRedis(t *testing.T) {
	s := startRedis(t)
	s.beats(2)
	s.Check(s.process.Signal(syscall.SIGSTOP))
	to := s.settings("")
	to.Timeout = time.Second
	for _, ask := range []func(f *Fleet) error{
		func(f *Fleet) error { _, err := f.All(); return err },
		func(f *Fleet) error { _, err := f.Jobs(identity(1)); return err },
		func(f *Fleet) error { _, err := f.Claim(request(identity(1))); return err },
		func(f *Fleet) error { _, err := f.Renew(identity(1), "web-1", time.Hour); return err },
		func(f *Fleet) error { return f.Release(identity(1)) },
		func(f *Fleet) error { return f.Signal(identity(1), "TERM") },
		func(f *Fleet) error { _, _, err := f.Lock("x", "me", time.Minute); return err },
	} {
		noAnswer(t, ask(open(t, to)), "Redis at "+s.socket+": no answer within 1s")
	}
	s.Check(s.process.Signal(syscall.SIGCONT))
	f := s.fleet()
	f.beginUntil(time.Now().Add(-time.Second))
	_, err := f.Claim(request(identity(1)))
	noAnswer(t, err, ": no answer within 2m0s")
	s.nothingWritten()
	f.Begin()
	s.claims(f, request(identity(1)), "")
}

// A Redis that does not write now says so, also inside a script, and can be read.
func TestRedisThatDoesNotWrite(t *testing.T) {
	replica, full := startRedis(t), startRedis(t)
	for _, c := range []struct {
		s    *server
		do   []any
		want string
	}{
		{replica, []any{"REPLICAOF", "127.0.0.1", 1}, " is read-only, a replica: nothing was changed"},
		{full, []any{"CONFIG", "SET", "maxmemory", "1"}, ": OOM command not allowed when used memory > 'maxmemory'."},
	} {
		c.s.beats(2)
		c.s.do(c.do...)
		f, want := c.s.fleet(), "Redis at "+c.s.socket+c.want
		_, err := f.Claim(request(identity(1)))
		noAnswer(t, err, want)
		noAnswer(t, f.Signal(identity(1), "TERM"), want)
		c.s.nothingWritten()
		if all, err := f.All(); err != nil || len(all) != 2 {
			t.Error(all, err)
		}
	}
	replica.do("CONFIG", "SET", "replica-serve-stale-data", "no")
	_, err := replica.fleet().All()
	noAnswer(t, err, "Redis at "+replica.socket+" is a replica that has lost its master")
}

// A user or password that is wrong is not an instance that is not there; nor is what the user may not do or see.
func TestPasswords(t *testing.T) {
	s := startRedis(t)
	s.beats(2)
	s.do("ACL", "SETUSER", "blind", "on", ">"+password, "+@all", "~processes", "~gracekit:*", "~"+identity(1))
	s.do("ACL", "SETUSER", "reader", "on", ">"+password, "~*", "+hello", "+auth", "+time", "+smembers", "+sismember")
	s.do("CONFIG", "SET", "requirepass", "other")
	s.do("AUTH", "other") // the pool's connection stays
	for credentials, want := range map[string]string{
		":" + password + "@":       " refuses the user or password of its URL",
		"reader:wrong@":            " refuses the user or password of its URL",
		"nobody:" + password + "@": " refuses the user or password of its URL",
		password + "@":             " refuses the user or password of its URL",
		"":                         " and its URL do not agree whether there is a password",
		"reader:" + password + "@": ": the user of its URL lacks a right: NOPERM",
		"blind:" + password + "@":  ": the user of its URL lacks a right: ERR The user executing the script can't access", // the second one's hash
	} {
		fails(t, s.settings(credentials), "Redis at "+s.socket+want)
	}
	s.nothingWritten()
	to := s.settings(":other@")
	to.URL += "?db=99"
	fails(t, to, ": ERR DB index is out of range")
}

// Redis before 6 knows no HELLO and no names of users.
func TestRedisWithoutHello(t *testing.T) {
	s := startRedis(t, "--requirepass", password, "--rename-command", "HELLO", "")
	s.do("AUTH", password)
	id := s.beats(2)[0]
	for _, user := range []string{"", "default"} {
		s.claims(open(t, s.settings(user+":"+password+"@")), request(id), "")
	}
	fails(t, s.settings(":wrong@"), "Redis at "+s.socket+" refuses the user or password of its URL")
	fails(t, s.settings(""), "and its URL do not agree whether there is a password: NOAUTH")
}

// A user with the rights that the messages and the page name can do everything.
func TestRights(t *testing.T) {
	s := startRedis(t)
	s.do("SELECT", 3)
	other := s.beats(2)[0]
	p, name := becomeSidekiq(t, "heartbeat")
	id := name + "00000000000a"
	s.beat(id, everywhere, "info", infoText(everywhere, time.Now()))
	s.do("RPUSH", "queue:default", payload("j", 900))
	acl := []any{"ACL", "SETUSER", "some", "on", ">" + password, "~*", "nocommands"}
	for _, right := range strings.Fields(rights) {
		acl = append(acl, right)
	}
	s.do(acl...)
	to := s.settings("some:" + password + "@")
	to.URL += "?db=3"
	f := open(t, to)
	s.claims(f, request(other), "")
	e, err := f.NewEvidence(id, p)
	s.Check(err)
	record, errFinish := e.Finish()
	_, errRemember := e.Remember(record)
	_, errRenew := f.Renew(other, "web-1", time.Hour)
	_, errBury := f.Bury(RanJob{JID: "j", Queue: "default"})
	_, errWithdraw := f.Withdraw(id, "TSTP")
	_, errResolve := f.Resolve(p)
	_, errJobs := f.Jobs(other)
	l, _, errLock := f.Lock("x", "me", time.Minute)
	s.Check(errors.Join(errFinish, errRemember, errRenew, errBury, errWithdraw, errResolve, errJobs, errLock,
		f.Signal(id, "TSTP"), f.RenewSignals(id), f.Release(other), f.NoteOver(id), f.NoteUnder(id)))
	_, errRenew = l.Renew(time.Now().Add(harness.Patience))
	s.Check(errors.Join(errRenew, l.Unlock()))
}

// What Redis says of an error in a script is read like that of any command: before 7 it puts something before it, from 7
// on behind it.
func TestErrorsInScripts(t *testing.T) {
	const before7 = "ERR Error running script (call to f_0123): @user_script:60: @user_script: 60: -"
	f := &Fleet{where: "Redis at x"}
	for text, want := range map[string]string{
		before7 + "READONLY You can't write against a read only replica.":                                          " is read-only, a replica: nothing was changed",
		before7 + "OOM command not allowed":                                                                        ": OOM command not allowed",
		"LOADING Redis is loading the dataset in memory":                                                           " is still reading its data from disk",
		"NOPERM this user has no permissions to run the 'time' command":                                            ": the user of its URL lacks a right: NOPERM this user has no permissions to run the 'time' command (want " + rights + ", on Sidekiq's keys and gracekit:*)",
		"ERR The user executing the script can't run this command or subcommand script: 0b1f, on @user_script:29.": ": the user of its URL lacks a right: ERR The user executing the script can't run this command or subcommand (want " + rights + ", on Sidekiq's keys and gracekit:*)",
		"ERR invalid password": " refuses the user or password of its URL",
		"ERR AUTH <password> called without any password configured for the default user": " and its URL do not agree whether there is a password: ERR AUTH <password> called without any password configured for the default user",
	} {
		if got := f.wrap(replied(text)); got.Error() != "Redis at x"+want {
			t.Errorf("%s\n got %s\nwant Redis at x%s", text, got, want)
		}
	}
}

type replied string

func (r replied) Error() string { return string(r) }
func (r replied) RedisError()   {}

// A field of Redis may have 512 MB: the answer is not taken into memory. The bound is that of each answer.
func TestAnswersAreBounded(t *testing.T) {
	s := startRedis(t)
	s.beats(2)
	f := s.fleet()
	for _, c := range []struct {
		size int
		fits bool
	}{{maxAnswer * 5 / 8, true}, {maxAnswer * 5 / 8, true}, {maxAnswer, false}, {1, true}} {
		s.do("DEL", "large")
		s.do("SETRANGE", "large", c.size, "x")
		s.do("EVAL", "redis.call('HSET', KEYS[2], 'info', redis.call('GET', KEYS[1]))", 2, "large", identity(1))
		f.Begin()
		switch all, err := f.All(); {
		case !c.fits:
			noAnswer(t, err, "Redis at "+s.socket+": the answer is larger than 64 MB")
		case err != nil || len(all) != 2:
			t.Errorf("%d bytes: %v, %v", c.size, all, err)
		}
	}
}

// authority makes certificates of its own.
type authority struct {
	w            *harness.World
	dir, file    string
	certificates int
}

func newAuthority(w *harness.World, name string) *authority {
	w.Helper()
	w.Need("openssl")
	w.Mkdir(name)
	a := &authority{w: w, dir: w.Path(name), file: w.Path(name, "ca.pem")}
	a.openssl("ca.key", "ca.pem")
	return a
}

func (a *authority) openssl(key, cert string, args ...string) {
	a.w.Helper()
	a.w.Must("openssl", append([]string{"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
		"-subj", "/CN=gracekit", "-keyout", filepath.Join(a.dir, key), "-out", filepath.Join(a.dir, cert)}, args...)...)
}

// certificate is that of the address loopback(0), or of a client.
func (a *authority) certificate() (cert, key string) {
	a.w.Helper()
	a.certificates++
	key, cert = fmt.Sprint(a.certificates, ".key"), fmt.Sprint(a.certificates, ".pem")
	a.openssl(key, cert, "-CA", a.file, "-CAkey", filepath.Join(a.dir, "ca.key"), "-addext", "subjectAltName=IP:"+loopback(0))
	return filepath.Join(a.dir, cert), filepath.Join(a.dir, key)
}

func TestTLS(t *testing.T) {
	w := harness.New(t)
	ca, wrong := newAuthority(w, "ca"), newAuthority(w, "wrong")
	cert, key := ca.certificate()
	port := freePort(t)
	s := startRedis(t, "--tls-port", port, "--bind", loopback(0), loopback(1), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", ca.file, "--tls-auth-clients", "optional", "--requirepass", password)
	s.do("AUTH", password)
	id := s.beats(2)[0]
	address := loopback(0) + ":" + port
	with := func(url string, files TLSFiles) Settings {
		to := settings(url)
		to.TLS = files
		return to
	}
	url, right := "rediss://:"+password+"@"+address, TLSFiles{CA: ca.file}
	s.claims(open(t, with(url, right)), request(id), "")
	unknown := "Redis at " + address + ": cannot verify its TLS certificate: x509: certificate signed by unknown authority"
	fails(t, with(url, TLSFiles{CA: wrong.file}), unknown)
	fails(t, with(url, TLSFiles{}), unknown) // those of the system
	fails(t, with("rediss://:"+password+"@"+loopback(1)+":"+port, right), ": cannot verify its TLS certificate: x509: certificate is valid for "+loopback(0)+", not "+loopback(1))
	fails(t, with("redis://:"+password+"@"+address, right), "Redis at "+address) // without TLS
	fails(t, with("rediss://:wrong@"+address, right), "Redis at "+address+" refuses the user or password of its URL")

	// With tls-auth-clients it asks for a certificate.
	s.do("CONFIG", "SET", "tls-auth-clients", "yes")
	fails(t, with(url, right), "REDIS_CERT_FILE")
	right.Cert, right.Key = wrong.certificate()
	fails(t, with(url, right), "REDIS_CERT_FILE")
	right.Cert, right.Key = ca.certificate()
	s.claims(open(t, with(url, right)), request(id), "")
}

// startSentinel starts a Sentinel that knows the master, under the name shop.
func startSentinel(master *server, port string, conf string) {
	master.Helper()
	file := master.Write("sentinel.conf", fmt.Sprintf("bind %s\ndir %s\nset-proc-title no\nsentinel monitor shop %s %s 1\n%s", loopback(0), master.Dir, loopback(0), port, conf), 0o600)
	master.Start(master.Command("redis-server", file, "--sentinel"))
}

func TestSentinel(t *testing.T) {
	port, sentinelPort := freePort(t), freePort(t)
	master := startRedis(t, "--port", port, "--bind", loopback(0), "--requirepass", password)
	master.do("AUTH", password)
	id := master.beats(2)[0]
	startSentinel(master, port, "port "+sentinelPort+"\nrequirepass sentinels-own\nsentinel auth-pass shop "+password+"\n")
	sentinel, itself := loopback(0)+":"+sentinelPort, loopback(0)+":"+port
	with := func(url, sentinels, its string) Settings {
		to := settings(url)
		to.Sentinels, to.SentinelPassword = sentinels, its
		return to
	}
	url := "redis://:" + password + "@shop"
	f := open(t, with(url, sentinel, "sentinels-own"))
	master.Eventually("the Sentinel answers", func() bool { f.Begin(); _, err := f.All(); return err == nil })
	master.claims(f, request(id), "")
	master.claims(open(t, with(url+"/0", closed+","+sentinel, "sentinels-own")), request(id), "")
	master.claims(open(t, with("redis://:"+password+"@"+sentinel+"?master_name=shop", "", "sentinels-own")), request(id), "")

	where := "Redis at shop (by Sentinel " + sentinel + ")"
	fails(t, with(url, sentinel, "wrong"), where+": Sentinel "+sentinel+": WRONGPASS")
	fails(t, with(url, itself, password), ": Sentinel "+itself+" is not a Sentinel: ERR unknown command")
	fails(t, with("redis://:wrong@shop", sentinel, "sentinels-own"), where+" refuses the user or password of its URL")
	fails(t, with("redis://:"+password+"@other", sentinel, "sentinels-own"), "Redis at other (by Sentinel "+sentinel+"): no Sentinel knows a master of that name")
	fails(t, with(url, closed, "sentinels-own"), "Redis at shop (by Sentinel "+closed+"): Sentinel "+closed+" is not available: connect: connection refused")
	secure := with(url, sentinel, "sentinels-own")
	secure.SentinelTLS, secure.Timeout = "1", time.Second
	fails(t, secure, ": Sentinel "+sentinel+": no answer to the TLS handshake within 1s (a port without TLS needs REDIS_SENTINEL_TLS=0)")

	// The Sentinel is there, and the master is not: that is no Sentinel's fault, and no answer.
	master.process.Kill()
	master.Exits(master.process, -1)
	fails(t, with(url, sentinel, "sentinels-own"), where+": its master "+itself+" is not available: connect: connection refused")
}

// TLS of the Sentinels is that of Redis, unless it is set.
func TestTLSOfSentinels(t *testing.T) {
	port, sentinelPort := freePort(t), freePort(t)
	master := startRedis(t, "--port", port, "--bind", loopback(0))
	ca := newAuthority(master.World, "ca")
	cert, key := ca.certificate()
	startSentinel(master, port, "port 0\ntls-port "+sentinelPort+"\ntls-cert-file "+cert+"\ntls-key-file "+key+"\ntls-ca-cert-file "+ca.file+
		"\ntls-auth-clients no\nuser watcher on >"+password+" +@all ~*\nuser default off\n")
	with := func(user, secure string) Settings {
		to := settings("redis://shop")
		to.TLS, to.Sentinels = TLSFiles{CA: ca.file}, loopback(0)+":"+sentinelPort
		to.SentinelUser, to.SentinelPassword, to.SentinelTLS = user, password, secure
		return to
	}
	f := open(t, with("watcher", "1"))
	master.Eventually("the Sentinel answers", func() bool { f.Begin(); _, err := f.All(); return err == nil })
	where := "Sentinel " + loopback(0) + ":" + sentinelPort
	fails(t, with("nobody", "1"), where+": WRONGPASS")
	fails(t, with("watcher", ""), where+" closed the connection without an answer (too many clients, protected mode, or a port for TLS alone, which needs REDIS_SENTINEL_TLS=1)")
}
