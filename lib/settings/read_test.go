package settings

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/fleet"
	"gracekit/lib/units"
)

// read reads settings of an environment, written NAME=VALUE.
func read(environment ...string) (*Values, error) {
	return Read(func(name string) (string, bool) {
		for _, entry := range environment {
			if text, ok := strings.CutPrefix(entry, name+"="); ok {
				return text, true
			}
		}
		return "", false
	})
}

func TestDefaults(t *testing.T) {
	v, err := read()
	if err != nil {
		t.Fatal(err)
	}
	v.sources = nil
	want := &Values{Interval: units.Duration(3 * time.Second), Grace: units.Duration(15 * time.Minute), ShutdownWait: units.Duration(30 * time.Second),
		Quiet: unix.SIGTSTP, Stop: unix.SIGTERM, Scope: "sidekiq", Measure: "rss", Restart: "service"}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("%+v, want %+v", v, want)
	}
}

func TestEachSettingTakesGitLabsNumberAndOurForms(t *testing.T) {
	for entry, want := range map[string]func(v *Values) bool{
		"SIDEKIQ_DAEMON_MEMORY_KILLER=1":                 func(v *Values) bool { return v.Daemon },
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS=2000000":          func(v *Values) bool { return v.Soft.KB(0) == 2000000 },
		"MEMORY_KILLER_MAX_RSS=80%":                      func(v *Values) bool { return v.Soft.KB(1000) == 800 },
		"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=1500M":     func(v *Values) bool { return v.Hard.KB(0) == 1500<<10 },
		"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=500ms":     func(v *Values) bool { return v.Interval.Seconds() == 0.5 },
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=900":           func(v *Values) bool { return v.Grace.Seconds() == 900 },
		"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=0":          func(v *Values) bool { return v.ShutdownWait == 0 },
		"MEMORY_KILLER_SHUTDOWN_WAIT=inf":                func(v *Values) bool { return v.ShutdownWait == units.Never },
		"SHUTDOWN_WAIT=90s":                              func(v *Values) bool { return v.ShutdownWait.Seconds() == 90 },
		"SIDEKIQ_TIMEOUT=60":                             func(v *Values) bool { return v.Timeout.Seconds() == 60 },
		"SIDEKIQ_MEMORY_KILLER_MIN_PEERS=2":              func(v *Values) bool { return v.MinPeers == 2 },
		"SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES=a,b* c":    func(v *Values) bool { return reflect.DeepEqual(v.PrivateQueues, []string{"a", "b*", "c"}) },
		"SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS=1":     func(v *Values) bool { return v.HardWithoutPeers },
		"LONG_WORKERS=Import* ExportJob":                 func(v *Values) bool { return reflect.DeepEqual(v.LongWorkers, []string{"Import*", "ExportJob"}) },
		"POISON_AFTER=3":                                 func(v *Values) bool { return v.PoisonAfter == 3 },
		"QUIET_SIGNAL=":                                  func(v *Values) bool { return v.Quiet == 0 },
		"QUIET_SIGNAL=sigquit":                           func(v *Values) bool { return v.Quiet == unix.SIGQUIT },
		"STOP_SIGNAL=3":                                  func(v *Values) bool { return v.Stop == unix.SIGQUIT },
		"STOP_SIGNAL=":                                   func(v *Values) bool { return v.Stop == unix.SIGTERM },
		"MEMORY_KILLER_SCOPE=cgroup":                     func(v *Values) bool { return v.Scope == "cgroup" },
		"MEMORY_KILLER_MATCH=puma: cluster worker*":      func(v *Values) bool { return v.Match == "puma: cluster worker*" },
		"MEMORY_KILLER_MEASURE=rss+swap":                 func(v *Values) bool { return v.Measure == "rss+swap" },
		"MEMORY_KILLER_MAX_AGE=6h":                       func(v *Values) bool { return v.MaxAge.Seconds() == 6*3600 },
		"MEMORY_KILLER_RESTART=worker":                   func(v *Values) bool { return v.Restart == "worker" },
		"MEMORY_KILLER_NOTIFY=/usr/local/bin/notify":     func(v *Values) bool { return v.Notify == "/usr/local/bin/notify" },
		"MEMORY_KILLER_CONTROL=/run/gracekit/it.control": func(v *Values) bool { return v.Control == "/run/gracekit/it.control" },
		"MEMORY_KILLER_CONTROL_GROUP=git":                func(v *Values) bool { return v.ControlGroup == "git" },
		"MEMORY_KILLER_STATE=/var/lib/it":                func(v *Values) bool { return v.State == "/var/lib/it" },
		"REDIS_URL=unix:///run/redis.sock":               func(v *Values) bool { return v.RedisURL == "unix:///run/redis.sock" },
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS=":                 func(v *Values) bool { return v.Soft.IsZero() },
	} {
		if v, err := read(entry); err != nil || !want(v) {
			t.Errorf("%s: %+v, %v", entry, v, err)
		}
	}
}

func TestWrongValuesAreNamed(t *testing.T) {
	for entry, want := range map[string]string{
		"SIDEKIQ_DAEMON_MEMORY_KILLER=yes":         `SIDEKIQ_DAEMON_MEMORY_KILLER: invalid value "yes" (want 0 or 1)`,
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS=2e+06":      `SIDEKIQ_MEMORY_KILLER_MAX_RSS: invalid size "2e+06" (want 2000000, 1500M or 80%)`,
		"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=0":   `SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL: invalid duration "0" (want 3 or 500ms, at least 1ms)`,
		"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=inf": `SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL: invalid duration "inf" (want 3 or 500ms, at least 1ms)`,
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME=-1":      `SIDEKIQ_MEMORY_KILLER_GRACE_TIME: invalid duration "-1" (want 90, 0.5, 500ms, 15m, 1h30m or inf)`,
		"SIDEKIQ_TIMEOUT=0":                        `SIDEKIQ_TIMEOUT: invalid duration "0" (want 25 or 90s, more than 0)`,
		"MEMORY_KILLER_MIN_PEERS=1.5":              `MEMORY_KILLER_MIN_PEERS: invalid number "1.5" (want for example 0, 1 or 2)`,
		"LONG_WORKERS=[a":                          `LONG_WORKERS: invalid pattern "[a" (want for example Import*)`,
		"STOP_SIGNAL=QIUT":                         `STOP_SIGNAL: invalid signal "QIUT" (want for example TERM, SIGTERM or 15)`,
		"QUIET_SIGNAL=0":                           `QUIET_SIGNAL: invalid signal "0" (want for example TERM, SIGTERM or 15)`,
		"MEMORY_KILLER_SCOPE=world":                `MEMORY_KILLER_SCOPE: invalid value "world" (want sidekiq, process, group, tree, children or cgroup)`,
		"MEMORY_KILLER_MEASURE=vsz":                `MEMORY_KILLER_MEASURE: invalid value "vsz" (want rss, pss, uss, anon or rss+swap)`,
		"MEMORY_KILLER_RESTART=both":               `MEMORY_KILLER_RESTART: invalid value "both" (want service or worker)`,
		"MEMORY_KILLER_CONTROL=control":            `MEMORY_KILLER_CONTROL: invalid path "control" (want an absolute path)`,
	} {
		if _, err := read(entry); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", entry, err, want)
		}
	}
}

func TestEachValueKnowsItsSource(t *testing.T) {
	v, err := read("MEMORY_KILLER_MAX_RSS=2G", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=", "SHUTDOWN_WAIT=5", "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=10")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Source{
		"SIDEKIQ_MEMORY_KILLER_MAX_RSS":        {"MEMORY_KILLER_MAX_RSS", "2G"},
		"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS": {"", ""},
		"SIDEKIQ_MEMORY_KILLER_GRACE_TIME":     {"", "900"}, // an empty variable is not set
		"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT":  {"SHUTDOWN_WAIT", "5"},
	} {
		if got := v.Source(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestTwoNamesOfOneSetting(t *testing.T) {
	if v, err := read("SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1", "MEMORY_KILLER_MIN_PEERS=1"); err != nil || v.MinPeers != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	const want = `MEMORY_KILLER_MIN_PEERS: "2" contradicts SIDEKIQ_MEMORY_KILLER_MIN_PEERS, which is "1" (want one of them)`
	if _, err := read("SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1", "MEMORY_KILLER_MIN_PEERS=2"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := read("MEMORY_KILLER_MATCH=puma*", "MEMORY_KILLER_SCOPE=tree"); err == nil {
		t.Error("a pattern and a scope")
	}
}

func TestRedisIsFoundAsSidekiqFindsIt(t *testing.T) {
	for _, c := range []struct {
		environment []string
		url         string
		message     string // of the error
	}{
		{nil, "", ""},
		{[]string{"REDIS_URL=redis://a"}, "redis://a", ""},
		{[]string{"REDIS_URL=redis://a", "REDIS_PROVIDER=CLOUD", "CLOUD=redis://b"}, "redis://b", ""},
		{[]string{"REDIS_URL=redis://a", "REDIS_PROVIDER=CLOUD"}, "redis://a", ""},
		{[]string{"REDIS_PROVIDER=CLOUD"}, "", "REDIS_PROVIDER: CLOUD, which it names, is not set"},
		{[]string{"REDIS_PROVIDER=redis://b"}, "", "REDIS_PROVIDER: invalid value (want the name of the variable that has the URL, not a URL)"},
		{[]string{"REDIS_PROVIDER=CLOUD", "CLOUD=http://:secret@b"}, "", "CLOUD: invalid URL "},
		{[]string{"REDIS_URL=redis://:secret/word@b"}, "", "REDIS_URL: invalid URL "},
	} {
		v, err := read(c.environment...)
		switch {
		case c.message == "" && (err != nil || v.RedisURL != c.url):
			t.Errorf("%q: %+v, %v", c.environment, v, err)
		case c.message != "" && (err == nil || !strings.HasPrefix(err.Error(), c.message) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%q: %v, want %s", c.environment, err, c.message)
		}
	}
}

// The URL is checked here and read in lib/fleet, by the same rules.
func TestURLsAreReadAsBySidekiqFleet(t *testing.T) {
	for _, text := range []string{
		"redis://localhost:6379/0", "redis://h", "redis://h/", "redis:///3", "redis://h?db=4", "redis://[::1]:7/1", "rediss://h:7", "redis://:pw@h",
		"redis://user:pw@h", "redis://u%40x:p%2Fw%3F%23%40%25@h", "redis://:a+b@h", "unix:///run/redis.sock?db=3", "unix://:p%40w@/run/r%401.sock",
		"unix:/run/redis.sock", "/run/redis.sock", "redis://h?timeout=3", "redis://:6379",
		"h:6379", "localhost", "http://h", "redis", "redis:6379", "redis://h:x", "redis://h:0", "redis://h:65536", "redis://h/x", "redis://h/-1",
		"redis://h?db=x", "redis://:p/w@h", "redis://:p?w@h", "redis://:p#w@h", "redis://:p%w@h", "unix://h/run/redis.sock", "unix:run/redis.sock",
		"unix://:pass@/word@/run/redis.sock", "redis://h:6379/0/1", "rediss://", "ftp:///x", "%zz",
	} {
		_, err := Parse("REDIS_URL", text)
		_, errFleet := fleet.Open(fleet.Settings{URL: text, Variable: "REDIS_URL", Timeout: time.Second})
		if (err == nil) != (errFleet == nil) {
			t.Errorf("%s: %v, but sidekiq-fleet: %v", text, err, errFleet)
		}
	}
}

// docs/settings.md is made from the table.
func TestEachSettingIsDocumented(t *testing.T) {
	names := map[string]bool{}
	for _, s := range Table {
		if s.Kind == "" || !strings.HasSuffix(s.Meaning, ".") || s.Meaning[:1] != strings.ToUpper(s.Meaning[:1]) {
			t.Errorf("%s: %q, %q", s.Name, s.Kind, s.Meaning)
		}
		for _, name := range s.names() {
			if names[name] {
				t.Errorf("%s is there twice", name)
			}
			names[name] = true
		}
		if rest, ok := strings.CutPrefix(s.Name, "SIDEKIQ_MEMORY_KILLER_"); ok && !names["MEMORY_KILLER_"+rest] {
			t.Errorf("%s has no name for workers that are not Sidekiq", s.Name)
		}
	}
	if _, err := Parse("NO_SUCH_SETTING", "1"); err == nil {
		t.Error("a setting that does not exist")
	}
}
