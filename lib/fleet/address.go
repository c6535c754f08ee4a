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

// Settings say which Redis, and how it is reached.
type Settings struct {
	URL              string // redis://, rediss:// or unix://; with Sentinels its host is the name of the master
	Variable         string // the environment variable that has it, for messages: the URL may hold a password
	Namespace        string // of Sidekiq 6 with redis-namespace
	CAFile           string // PEM, for rediss://; the system's if empty
	Sentinels        string // HOST:PORT,HOST:PORT...
	SentinelPassword string
	Timeout          time.Duration // for all that is asked at a time, with what it takes to connect
}

// FromEnvironment reads REDIS_PROVIDER and REDIS_URL as Sidekiq does (sidekiq/redis_connection.rb),
// and what Sidekiq has in Ruby code alone: REDIS_CA_FILE, REDIS_SENTINELS, REDIS_SENTINEL_PASSWORD.
func FromEnvironment() (Settings, error) {
	s := Settings{
		Variable:         "REDIS_URL",
		CAFile:           os.Getenv("REDIS_CA_FILE"),
		Sentinels:        os.Getenv("REDIS_SENTINELS"),
		SentinelPassword: os.Getenv("REDIS_SENTINEL_PASSWORD"),
	}
	if provider := os.Getenv("REDIS_PROVIDER"); strings.Contains(provider, ":") {
		return s, errors.New("REDIS_PROVIDER: must be the name of the variable that has the URL, not a URL")
	} else if provider != "" && os.Getenv(provider) != "" {
		s.Variable = provider
	} else if provider != "" && os.Getenv("REDIS_URL") == "" {
		return s, fmt.Errorf("REDIS_PROVIDER: %s, which it names, is not set", provider)
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
	if o.TLSConfig != nil && s.CAFile != "" {
		if o.TLSConfig.RootCAs, err = readCA(s.CAFile); err != nil {
			return nil, "", err
		}
	}
	o.Protocol = 2 // nothing is pushed to us
	o.DisableIdentity = true
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = s.Timeout, s.Timeout, s.Timeout
	o.MaxRetries, o.DialerRetries = -1, 1 // whoever asked decides
	o.PoolSize, o.PipelinePoolSize = 1, -1
	master, sentinels := query.Get("master_name"), append([]string{o.Addr}, query["addr"]...)
	if s.Sentinels != "" {
		if o.Network == "unix" {
			return nil, "", fmt.Errorf("REDIS_SENTINELS: asks for the name of the master as the host in %s (redis://NAME/0)", s.Variable)
		}
		master, _, _ = net.SplitHostPort(o.Addr)
		sentinels = strings.FieldsFunc(s.Sentinels, func(r rune) bool { return r == ',' || r == ' ' })
		if len(sentinels) == 0 {
			return nil, "", fmt.Errorf("REDIS_SENTINELS: %q names none (HOST:26379,HOST:26379)", s.Sentinels)
		}
	}
	if master == "" {
		return redis.NewClient(o), o.Addr, nil
	}
	for i, addr := range sentinels {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			sentinels[i] = net.JoinHostPort(strings.Trim(addr, "[]"), "26379")
		}
	}
	if o.TLSConfig != nil {
		o.TLSConfig.ServerName = "" // that of each address
	}
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: master, SentinelAddrs: sentinels, SentinelPassword: s.SentinelPassword,
		Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig,
		Protocol: o.Protocol, DisableIdentity: true, ContextTimeoutEnabled: true,
		DialTimeout: s.Timeout, ReadTimeout: s.Timeout, WriteTimeout: s.Timeout,
		MaxRetries: -1, DialerRetries: 1, PoolSize: 1, PipelinePoolSize: -1,
	}), master + " (by Sentinel " + strings.Join(sentinels, ", ") + ")", nil
}

// parse reads the URL as Sidekiq's clients do (redis 4, redis-client), and leaves options that they alone know.
// What is wrong with it is not quoted: that may be a piece of the password.
func (s Settings) parse() (*redis.Options, url.Values, error) {
	wrong := fmt.Errorf("%s: its value is no URL of a Redis (redis://HOST:6379/0, rediss://HOST:6379/0, unix:///PATH; "+
		"in a password / is written %%2F, ? %%3F, # %%23, @ %%40, %% %%25)", s.Variable)
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

// credentials are those of the URL: one word alone is the password, and a + is a space, as in Ruby.
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
	if user == "default" { // before Redis 6 there are no names
		user = ""
	}
	if user, err = url.QueryUnescape(user); err != nil {
		return "", "", err
	}
	password, err = url.QueryUnescape(password)
	return user, password, err
}

func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("REDIS_CA_FILE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("REDIS_CA_FILE: %s: has no certificate in PEM", file)
	}
	return pool, nil
}
