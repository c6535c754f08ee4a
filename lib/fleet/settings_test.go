package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestURLs(t *testing.T) {
	for text, want := range map[string]struct {
		network, addr, user, password string
		db                            int
		tls                           bool
	}{
		"redis://h":                          {"tcp", "h:6379", "", "", 0, false},
		"redis://h:7/15":                     {"tcp", "h:7", "", "", 15, false},
		"redis:///3":                         {"tcp", "127.0.0.1:6379", "", "", 3, false},
		"redis://h/2?db=4":                   {"tcp", "h:6379", "", "", 2, false},
		"redis://[fe80::1%25eth0]":           {"tcp", "[fe80::1%eth0]:6379", "", "", 0, false},
		"rediss://h:7":                       {"tcp", "h:7", "", "", 0, true},
		"redis://user:pw@h":                  {"tcp", "h:6379", "user", "pw", 0, false},
		"redis://default:pw@h":               {"tcp", "h:6379", "", "pw", 0, false},
		"redis://pw@h":                       {"tcp", "h:6379", "", "pw", 0, false}, // as redis-client reads it
		"redis://u%40x:p%2Fw%3F%23%40%25@h":  {"tcp", "h:6379", "u@x", "p/w?#@%", 0, false},
		"redis://:a+b%2Bc@h":                 {"tcp", "h:6379", "", "a b+c", 0, false}, // as Ruby decodes it
		"unix:///run/redis.sock?db=3":        {"unix", "/run/redis.sock", "", "", 3, false},
		"unix://:p%40w@/run/r%401.sock":      {"unix", "/run/r@1.sock", "", "p@w", 0, false},
		"unix:/run/redis.sock":               {"unix", "/run/redis.sock", "", "", 0, false},
		"/run/redis.sock":                    {"unix", "/run/redis.sock", "", "", 0, false},
		"redis://h?timeout=3&ssl=x&driver=r": {"tcp", "h:6379", "", "", 0, false}, // for Sidekiq's client alone
	} {
		o, _, err := Settings{URL: text, Variable: "REDIS_URL"}.parse()
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if o.Network != want.network || o.Addr != want.addr || o.Username != want.user || o.Password != want.password ||
			o.DB != want.db || (o.TLSConfig != nil) != want.tls {
			t.Errorf("%s: %s %s, user %q, password %q, db %d", text, o.Network, o.Addr, o.Username, o.Password, o.DB)
		}
	}
}

// A password whose special characters were not escaped is cut somewhere: no piece of it is shown, or asked on the network.
func TestWrongURLs(t *testing.T) {
	for _, text := range []string{
		"h:6379", "localhost", "http://h", "redis", "redis:h:6379", "unix://:pass@/word@/run/redis.sock", "redis:6379", "redis://h:x", "redis://h:0", "redis://h:65536", "redis://h/x",
		"redis://h/-1", "redis://h/0/1", "redis://h/99999999999999999999", "unix://", "unix://run/redis.sock", "unix:run/redis.sock", "run/redis.sock",
		"redis://:sec/ret@h", "redis://:12/34@h", "redis://:12?34@h", "redis://:12#34@h:6379/0", "redis://:sec%ret@h", "redis://:sec ret@h",
		"redis://:sec[ret@h", "unix://:12/34@/run/redis.sock", "unix://:12#34@/run/redis.sock", "redis://h/0#x", "redis://[::1", " redis://h",
		"redis://:sec\x00ret@h", "redis://:%zz@h",
	} {
		_, err := Open(Settings{URL: text, Variable: "MY_URL", Timeout: time.Second})
		if err == nil || !strings.HasPrefix(err.Error(), "MY_URL: invalid URL (want ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// However a password is written, no message has a piece of it.
func FuzzURL(f *testing.F) {
	for _, raw := range []string{"sec/ret", "sec#ret", "sec?ret", "sec@ret", "sec%ret", "12/34", "12?34", "12#34", "a:b", "\\", "[", "]"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		const secret = "QzQzQz" // hidden in it, wherever that is cut
		for _, form := range []string{"redis://:PW@nosuch.invalid:6379/0", "unix://:PW@/nonexistent", "redis://u:PW@nosuch.invalid"} {
			for _, password := range []string{secret + raw + secret, secret + raw, raw + secret} {
				o, _, err := Settings{URL: strings.Replace(form, "PW", password, 1), Variable: "V"}.parse()
				if err != nil && strings.Contains(err.Error(), secret) || err == nil && strings.Contains(o.Addr, secret) {
					t.Errorf("%q: %v, %v", password, err, o)
				}
			}
		}
	})
}

func TestEnvironment(t *testing.T) {
	for _, name := range []string{"REDIS_URL", "REDIS_PROVIDER", "SIDEKIQ_NAMESPACE", "REDIS_CA_FILE", "REDIS_SENTINELS", "REDIS_SENTINEL_PASSWORD"} {
		t.Setenv(name, "")
	}
	t.Setenv("MY_URL", "redis://mine")
	for _, c := range []struct{ provider, url, variable, want, err string }{
		{"", "", "REDIS_URL", "redis://127.0.0.1:6379/0", ""},
		{"", "redis://a", "REDIS_URL", "redis://a", ""},
		{"MY_URL", "redis://a", "MY_URL", "redis://mine", ""},
		{"MY_URL", "", "MY_URL", "redis://mine", ""},
		{"NO_URL", "redis://a", "REDIS_URL", "redis://a", ""}, // as in Sidekiq, 6.4 (redis-rb reads it) and 7
		{"NO_URL", "", "", "", "REDIS_PROVIDER: it names NO_URL, which is not set"},
		{"redis://:secret@h", "", "", "", "REDIS_PROVIDER: must be the name of the variable that holds the URL, not a URL"},
	} {
		t.Setenv("REDIS_PROVIDER", c.provider)
		t.Setenv("REDIS_URL", c.url)
		s, err := FromEnvironment()
		if err != nil || c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if s.URL != c.want || s.Variable != c.variable {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}

func TestCAFile(t *testing.T) {
	open := func(file string) error {
		_, err := Open(Settings{URL: "rediss://h", Variable: "REDIS_URL", TLS: TLSFiles{CA: file}, Timeout: time.Second})
		return err
	}
	missing := filepath.Join(t.TempDir(), "ca.pem")
	if err := open(missing); err == nil || err.Error() != "REDIS_CA_FILE: open "+missing+": no such file or directory" {
		t.Error(err)
	}
	if err := os.WriteFile(missing, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(missing); err == nil || err.Error() != "REDIS_CA_FILE: "+missing+": no certificate in PEM format" {
		t.Error(err)
	}
}

func TestAddressesOfSentinels(t *testing.T) {
	for _, c := range []struct{ url, sentinels, want string }{
		{"redis://mymaster/0", "a:1,b", "mymaster (by Sentinel a:1, b:26379)"},
		{"redis://mymaster", "a b:2", "mymaster (by Sentinel a:26379, b:2)"},
		{"redis://mymaster", "::1,[::2],[::3]:4", "mymaster (by Sentinel [::1]:26379, [::2]:26379, [::3]:4)"},
		{"redis://a:26379?master_name=m&addr=b:2", "", "m (by Sentinel a:26379, b:2)"},
		{"unix:///x", "a", ""},
		{"redis://mymaster", " , ", ""},
	} {
		client, address, err := Settings{URL: c.url, Sentinels: c.sentinels, Variable: "REDIS_URL", Timeout: time.Second}.connect()
		if err == nil {
			client.Close()
		}
		if address != c.want {
			t.Errorf("%+v: %s (%v)", c, address, err)
		}
	}
}
