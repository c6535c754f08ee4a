package settings

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/units"
)

// read reads settings written as NAME=VALUE.
func read(settings ...string) (*Values, error) {
	env := map[string]string{}
	for _, s := range settings {
		name, text, _ := strings.Cut(s, "=")
		env[name] = text
	}
	return Read(func(name string) (string, bool) { text, set := env[name]; return text, set })
}

func TestTheDefaultsAreGitLabs(t *testing.T) {
	v, err := read()
	if err != nil {
		t.Fatal(err)
	}
	if v.Daemon || !v.Soft.IsZero() || !v.Hard.IsZero() || v.Interval != units.Duration(3*time.Second) || v.Grace != units.Duration(15*time.Minute) ||
		v.ShutdownWait != units.Duration(30*time.Second) || v.Timeout != 0 || v.MinPeers != 0 || v.HardWithoutPeers || v.Scope != "sidekiq" ||
		v.Measure != "rss" || v.Restart != "service" || v.Quiet != unix.SIGTSTP || v.Stop != unix.SIGTERM {
		t.Errorf("%+v", v)
	}
}

func TestAnySettingTakesPlainNumbersAndTheKitsForms(t *testing.T) {
	for text, kb := range map[string]int64{"2000000": 2000000, "1500M": 1500 << 10, "2G": 2 << 20, "80%": 800} {
		v, err := read("SIDEKIQ_MEMORY_KILLER_MAX_RSS=" + text)
		if err != nil || v.Soft.KB(1000) != kb {
			t.Errorf("%s: %v, %v", text, v, err)
		}
	}
	for text, want := range map[string]time.Duration{"900": 15 * time.Minute, "15m": 15 * time.Minute, "500ms": 500 * time.Millisecond, "0": 0} {
		v, err := read("MEMORY_KILLER_GRACE_TIME=" + text)
		if err != nil || v.Grace.Std() != want {
			t.Errorf("%s: %v, %v", text, v, err)
		}
	}
}

func TestWhichVariableCounts(t *testing.T) {
	v, err := read("SHUTDOWN_WAIT=1", "SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT=2")
	if err != nil || v.ShutdownWait.Seconds() != 1 || v.Source("SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT").Variable != "SHUTDOWN_WAIT" {
		t.Errorf("SHUTDOWN_WAIT goes before: %v, %v", v, err)
	}
	if v, err := read("MEMORY_KILLER_MAX_RSS=5"); err != nil || v.Source("SIDEKIQ_MEMORY_KILLER_MAX_RSS") != (Source{"MEMORY_KILLER_MAX_RSS", "5"}) {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := read("MEMORY_KILLER_MAX_RSS=5", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=5"); err != nil {
		t.Errorf("both set and the same: %v", err)
	}
	if v, err := read("SIDEKIQ_MEMORY_KILLER_MAX_RSS=", "QUIET_SIGNAL="); err != nil || !v.Soft.IsZero() || v.Quiet != 0 {
		t.Errorf("empty is not set, but an empty quiet signal is none: %v, %v", v, err)
	}
	if v, err := read("REDIS_PROVIDER=OTHER", "OTHER=redis://h:1/0", "REDIS_URL=redis://other"); err != nil || v.RedisURL != "redis://h:1/0" {
		t.Errorf("%v, %v", v, err)
	}
}

func TestAWrongValueNamesItsVariable(t *testing.T) {
	for _, setting := range []string{"SIDEKIQ_MEMORY_KILLER_MAX_RSS=2e+06", `SIDEKIQ_MEMORY_KILLER_MAX_RSS="2000000"`, "MEMORY_KILLER_HARD_LIMIT_RSS=2Q",
		"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL=0", "SIDEKIQ_MEMORY_KILLER_GRACE_TIME=-1", "SHUTDOWN_WAIT=soon", "SIDEKIQ_TIMEOUT=0",
		"SIDEKIQ_MEMORY_KILLER_MIN_PEERS=1.5", "SIDEKIQ_DAEMON_MEMORY_KILLER=yes", "SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS=2",
		"LONG_WORKERS=[", "POISON_AFTER=-1", "QUIET_SIGNAL=TSTOP", "STOP_SIGNAL=65", "MEMORY_KILLER_SCOPE=all", "MEMORY_KILLER_MATCH=[",
		"MEMORY_KILLER_MEASURE=vsz", "MEMORY_KILLER_MAX_AGE=0", "MEMORY_KILLER_RESTART=all", "MEMORY_KILLER_CONTROL=fifo", "REDIS_URL=http://x",
		"REDIS_PROVIDER=redis://x"} {
		name, value, _ := strings.Cut(setting, "=")
		_, err := read(setting)
		if err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", setting, err)
		}
		if err != nil && strings.Contains(name, "REDIS") && strings.Contains(err.Error(), value) {
			t.Errorf("a URL, which may have a password in it, is quoted: %v", err)
		}
	}
	if _, err := read("MEMORY_KILLER_MAX_RSS=5", "SIDEKIQ_MEMORY_KILLER_MAX_RSS=6"); err == nil || !strings.Contains(err.Error(), "contradicts") {
		t.Errorf("two names that differ: %v", err)
	}
	if _, err := read("MEMORY_KILLER_MATCH=x*", "MEMORY_KILLER_SCOPE=tree"); err == nil {
		t.Error("a match and a scope")
	}
}
