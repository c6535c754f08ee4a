package docs

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"gracekit/lib/settings"
	"gracekit/lib/watch"
)

var update = flag.Bool("update", false, "write the pages that are made from tables")

// settingsPage is docs/settings.md.
func settingsPage() string {
	var b strings.Builder
	b.WriteString(`# Settings

Environment variables of ` + "`memory-killer`" + `, with GitLab's names and units. Each SIDEKIQ_MEMORY_KILLER_X can also be written
MEMORY_KILLER_X, for workers that are not Sidekiq; if both are set and differ, that is an error. A wrong value is refused
before anything is started (exit 100), and the message names the variable. An empty variable counts as not set, except
QUIET_SIGNAL. ` + "`memory-killer --check`" + ` prints every setting and where it came from.

| variable | value | default | meaning |
| --- | --- | --- | --- |
`)
	for _, s := range settings.Table {
		byDefault := s.Default
		if byDefault == "" {
			byDefault = "not set"
		}
		meaning := s.Meaning
		if s.Before != "" {
			meaning += " " + s.Before + " goes before it."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Name, s.Kind, byDefault, strings.ReplaceAll(meaning, "|", `\|`))
	}
	b.WriteString(`
graceful-restart reads SHUTDOWN_WAIT, SIDEKIQ_TIMEOUT, QUIET_SIGNAL and STOP_SIGNAL from its own environment, and where
they are not set there from what the worker was started with: graceful-restart(8) has the order.

Redis: REDIS_CA_FILE, REDIS_CERT_FILE, REDIS_KEY_FILE, REDIS_SENTINELS, REDIS_SENTINEL_USER, REDIS_SENTINEL_PASSWORD,
REDIS_SENTINEL_TLS and SIDEKIQ_NAMESPACE are read by sidekiq-fleet: [fleet](fleet.md).

This page is made from the table in lib/settings.
`)
	return b.String()
}

// meanings are of the events, for operators.
var meanings = map[string]string{
	"watching":          "gracewatch has started, with these limits.",
	"disabled":          "No limit is set: nothing is watched.",
	"over-soft":         "The size passed the soft limit; the grace timer starts.",
	"under-soft":        "The size is back at or under the soft limit; the timer is cancelled.",
	"over-hard":         "The size passed the hard limit.",
	"grace-over":        "The grace time has expired.",
	"restart-begin":     "The program that restarts is run.",
	"restart-done":      "The process has exited.",
	"restart-postponed": "Not now; why says what it waits for. It is tried again after retry_s, if the process is still over its limit.",
	"restart-failed":    "The program failed, or the process did not exit. The restart begins again after retry_s.",
	"limit-too-low":     "The limit is below what the process needs at boot; fits_kb would fit. Restarts back off.",
	"target-gone":       "The process has exited.",
	"target-up":         "The service has a new process.",
	"paused":            "An operator paused the watcher: no restarts.",
	"resumed":           "An operator resumed it.",
	"read-failed":       "A size could not be read. It is logged once, and that check is skipped.",
}

// eventsPage is docs/events.md.
func eventsPage() string {
	var b strings.Builder
	b.WriteString("# Events\n\nEvents of gracewatch, a line each on standard error: `level=LEVEL msg=EVENT target=TARGET id=PID:STARTTIME` and the fields\n" +
		"below. Names are a contract. `--log-format json` writes the same as JSON.\n\n| event | level | fields | meaning |\n| --- | --- | --- | --- |\n")
	for _, e := range watch.Events {
		fields := strings.Join(e.Fields, " ")
		if fields == "" {
			fields = "-"
		}
		fmt.Fprintf(&b, "| `%s` | %v | %s | %s |\n", e.Name, e.Level, fields, meanings[e.Name])
	}
	b.WriteString(`
| field | meaning |
| --- | --- |
| rss_kb | the size in KB, in the measure that is watched |
| soft_kb, hard_kb | the limits in KB, as worked out for this process |
| over_s, grace_s | how long it has been over the soft limit, and how long it may be, in seconds |
| reason | soft, hard, legacy, age or control |
| retry_s, wait_s | seconds until it is tried again |
| boot_kb, growth_kb_min, fits_kb | the size after boot, how fast it grew (KB a minute), and a limit that would fit |
| dry_run | true: nothing was done |

This page is made from the constants in lib/watch/events.go.
`)
	return b.String()
}

func TestPagesAreMadeFromTheTables(t *testing.T) {
	for _, e := range watch.Events {
		if meanings[e.Name] == "" {
			t.Errorf("event %s has no meaning here", e.Name)
		}
	}
	for file, want := range map[string]string{"settings.md": settingsPage(), "events.md": eventsPage()} {
		file = repo + "/docs/" + file
		if *update {
			must(t, os.WriteFile(file, []byte(want), 0o644))
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is not what its table says: go test ./test/docs -run Tables -update", file)
		}
	}
}
