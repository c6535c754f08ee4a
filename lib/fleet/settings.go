package fleet

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Settings are where Redis is, and how it is reached.
type Settings struct {
	URL       string // redis://, rediss:// or unix://; with Sentinels its host is the name of the master
	Variable  string // the environment variable that has the URL, for messages: the URL may hold a password
	Namespace string // of Sidekiq 6 with redis-namespace
	TLS       TLSFiles
	Sentinels string // HOST:PORT,HOST:PORT...
	// User, password and TLS ("1", "0", or "" for the same as Redis) of the Sentinels themselves.
	SentinelUser, SentinelPassword, SentinelTLS string
	Timeout                                     time.Duration // of all questions of one command together, with the connection
}

// TLSFiles are PEM files. An empty CA means the system's.
type TLSFiles struct{ CA, Cert, Key string }

// FromEnvironment reads REDIS_PROVIDER and REDIS_URL as Sidekiq does
// (sidekiq/redis_connection.rb), and from variables of our own what an
// application sets in Ruby code.
func FromEnvironment() (Settings, error) {
	s := Settings{
		Variable:         "REDIS_URL",
		TLS:              TLSFiles{os.Getenv("REDIS_CA_FILE"), os.Getenv("REDIS_CERT_FILE"), os.Getenv("REDIS_KEY_FILE")},
		Sentinels:        os.Getenv("REDIS_SENTINELS"),
		SentinelUser:     os.Getenv("REDIS_SENTINEL_USER"),
		SentinelPassword: os.Getenv("REDIS_SENTINEL_PASSWORD"),
		SentinelTLS:      os.Getenv("REDIS_SENTINEL_TLS"),
	}
	if provider := os.Getenv("REDIS_PROVIDER"); strings.Contains(provider, ":") {
		return s, errors.New("REDIS_PROVIDER: must be the name of the variable that holds the URL, not a URL")
	} else if provider != "" && os.Getenv(provider) != "" {
		s.Variable = provider
	} else if provider != "" && os.Getenv("REDIS_URL") == "" {
		return s, fmt.Errorf("REDIS_PROVIDER: it names %s, which is not set", provider)
	}
	s.URL = os.Getenv(s.Variable)
	if s.URL == "" {
		s.URL = "redis://127.0.0.1:6379/0"
	}
	return s, nil
}

// connect makes the client; nothing is asked yet. The address is for messages.
func (s Settings) connect() (client *redis.Client, address string, err error) {
	o, query, err := s.parse()
	if err != nil {
		return nil, "", err
	}
	d := dialer{net.Dialer{Timeout: s.Timeout}, o.TLSConfig, nil}
	if err := s.TLS.load(d.tls); err != nil {
		return nil, "", err
	}
	o.Protocol = 2 // nothing is pushed to us
	o.DisableIdentity = true
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = s.Timeout, s.Timeout, s.Timeout
	o.MaxRetries, o.DialerRetries = -1, 1 // the caller decides whether to ask again
	o.PoolSize, o.PipelinePoolSize = 1, -1
	address = o.Addr
	if d.sentinels, err = s.sentinels(o, query, d.tls); err != nil {
		return nil, "", err
	}
	if d.sentinels != nil {
		address = d.sentinels.String()
		if d.tls != nil {
			d.tls.ServerName = "" // that of each address
		}
	}
	o.Dialer = d.dial
	return redis.NewClient(o), address, nil
}

// sentinels are those of REDIS_SENTINELS, or of the URL as go-redis writes it; nil if there are none.
func (s Settings) sentinels(o *redis.Options, query url.Values, redisTLS *tls.Config) (*sentinels, error) {
	list := &sentinels{master: query.Get("master_name"), addresses: append([]string{o.Addr}, query["addr"]...)}
	if s.Sentinels != "" {
		if o.Network == "unix" {
			return nil, fmt.Errorf("REDIS_SENTINELS: needs the name of the master as the host in %s (redis://NAME/0)", s.Variable)
		}
		list.master, _, _ = net.SplitHostPort(o.Addr)
		list.addresses = strings.FieldsFunc(s.Sentinels, func(r rune) bool { return r == ',' || r == ' ' })
		if len(list.addresses) == 0 {
			return nil, fmt.Errorf("REDIS_SENTINELS: invalid list %q (want HOST:26379,HOST:26379)", s.Sentinels)
		}
	}
	if list.master == "" {
		return nil, nil
	}
	for i, addr := range list.addresses {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			list.addresses[i] = net.JoinHostPort(strings.Trim(addr, "[]"), "26379")
		}
	}
	list.options = redis.Options{Username: s.SentinelUser, Password: s.SentinelPassword, Protocol: 2, DisableIdentity: true,
		ContextTimeoutEnabled: true, DialTimeout: s.Timeout * 2 / 3, ReadTimeout: s.Timeout, WriteTimeout: s.Timeout,
		MaxRetries: -1, DialerRetries: 1, PoolSize: 1, PipelinePoolSize: -1}
	own := redisTLS
	switch s.SentinelTLS {
	case "":
	case "0":
		own = nil
	case "1":
		own = &tls.Config{InsecureSkipVerify: redisTLS != nil && redisTLS.InsecureSkipVerify}
		if err := s.TLS.load(own); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("REDIS_SENTINEL_TLS: invalid value %q (want 0 or 1)", s.SentinelTLS)
	}
	list.options.Dialer = dialer{net.Dialer{Timeout: s.Timeout}, own, nil}.dial
	return list, nil
}

// parse reads the URL as Sidekiq's clients do (redis 4, redis-client), and ignores the options that only they know.
// An error does not quote the URL, because what is wrong in it may be a piece of the password.
func (s Settings) parse() (*redis.Options, url.Values, error) {
	wrong := fmt.Errorf("%s: invalid URL (want redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///PATH; "+
		"in a password write / as %%2F, ? as %%3F, # as %%23, @ as %%40, %% as %%25)", s.Variable)
	u, err := url.Parse(s.URL)
	if err != nil || u.Opaque != "" || u.Fragment != "" || strings.Contains(u.RawQuery, "@") {
		return nil, nil, wrong
	}
	query := u.Query()
	o := &redis.Options{}
	db := query.Get("db")
	switch u.Scheme {
	case "unix", "":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.User != nil && strings.Contains(u.EscapedPath(), "@") {
			return nil, nil, wrong
		}
		o.Network, o.Addr = "unix", u.Path
	case "redis", "rediss":
		port := cmp.Or(u.Port(), "6379")
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, nil, wrong
		}
		o.Network, o.Addr = "tcp", net.JoinHostPort(cmp.Or(u.Hostname(), "127.0.0.1"), port)
		db = cmp.Or(strings.Trim(u.Path, "/"), db)
	default:
		return nil, nil, wrong
	}
	if u.Scheme == "rediss" {
		o.TLSConfig = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: query.Get("skip_verify") == "true"}
	}
	if o.DB, err = strconv.Atoi(cmp.Or(db, "0")); err != nil || o.DB < 0 {
		return nil, nil, wrong
	}
	if o.Username, o.Password, err = credentials(s.URL, u.User); err != nil {
		return nil, nil, wrong
	}
	return o, query, nil
}

// credentials are those of the URL: a single word is the password, and a + is a space, as in Ruby.
func credentials(text string, there *url.Userinfo) (user, password string, err error) {
	if there == nil {
		return "", "", nil
	}
	_, text, _ = strings.Cut(text, "://")
	text = text[:strings.LastIndexByte(text[:strings.IndexAny(text+"/", "/?#")], '@')]
	user, password, both := strings.Cut(text, ":")
	if !both {
		user, password = "", user
	}
	if user == "default" { // Redis before 6 knows no users
		user = ""
	}
	if user, err = url.QueryUnescape(user); err != nil {
		return "", "", err
	}
	password, err = url.QueryUnescape(password)
	return user, password, err
}

// load reads the files into a TLS configuration; without one they are not needed.
func (f TLSFiles) load(config *tls.Config) error {
	if config == nil {
		return nil
	}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return fmt.Errorf("REDIS_CA_FILE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("REDIS_CA_FILE: %s: no certificate in PEM format", f.CA)
		}
	}
	switch {
	case f.Cert == "" && f.Key == "":
		return nil
	case f.Cert == "" || f.Key == "":
		return errors.New("REDIS_CERT_FILE and REDIS_KEY_FILE: both must be set, or neither")
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return fmt.Errorf("REDIS_CERT_FILE %s, REDIS_KEY_FILE %s: %w", f.Cert, f.Key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}
