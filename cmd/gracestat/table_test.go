package main

import (
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/watch"
)

// service is a watched one with workers of these sizes, in MB.
func watched(name string, mb ...int64) Service {
	s := Service{Name: name, Path: "/etc/service/" + name, State: OK, Watcher: proc.ID{PID: 4000, Start: 7},
		Snapshot: &watch.Snapshot{Grace: 15 * time.Minute, Restarts: []watch.Restart{
			{At: time.Now().Add(-3 * time.Hour), Reason: grace.Soft, Outcome: "done", Took: 4 * time.Second}}}}
	for i, size := range mb {
		s.Workers = append(s.Workers, Worker{ID: proc.ID{PID: 1000 + i, Start: 5}, Age: 26 * time.Hour, KB: size << 10, PeakKB: size << 11,
			SoftKB: 2 << 20, HardKB: 3 << 20, State: OK, HasJobs: true, Busy: 3, Slots: 10})
	}
	return s
}

func TestTheTableHasTheColumnsOfTheContract(t *testing.T) {
	got := table([]Service{watched("sidekiq", 812), watched("puma", 100, 200)}, 0, true)
	var lines []string
	for line := range strings.Lines(got) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{ // colour is for the state alone
		"NAME PID AGE RSS PEAK SOFT HARD STATE JOBS LAST-RESTART WATCHER",
		"sidekiq 1000 1d 812M 1.6G 2.0G 3.0G \x1b[32mok\x1b[0m 3/10 3h ago soft 4000",
		"puma - - 300M - - - \x1b[32mok\x1b[0m - 3h ago soft 4000",
		"1000 1000 1d 100M 200M 2.0G 3.0G \x1b[32mok\x1b[0m 3/10 - -",
		"1001 1001 1d 200M 400M 2.0G 3.0G \x1b[32mok\x1b[0m 3/10 - -",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
	if got := table([]Service{watched("sidekiq", 812)}, 0, false); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

func checkWidth(t *testing.T, text string, width int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
			t.Errorf("%d columns in %d: %q", n, width, line)
		}
	}
}

func TestTheTableFitsAnyTerminal(t *testing.T) {
	s := watched("a-service-with-a-long-name", 812, 900)
	s.Workers[0].State, s.Workers[0].Detail = Postponed, "postponed: 0 of 1 peers can do its work (claimed: 1, quiet: 0)"
	for _, width := range []int{60, 80, 100, 200} {
		got := table([]Service{s, watched("b", 5)}, width, false)
		checkWidth(t, got, width)
		if !strings.Contains(got, "STATE") || !strings.Contains(got, "RSS") || width >= 80 && !strings.Contains(got, "SOFT") {
			t.Errorf("width %d: what matters most is left out:\n%s", width, got)
		}
	}
}

func TestNothingIsPrintedRaw(t *testing.T) {
	const hostile = "a\x1b[31mb\nc\u009bd\x7f\xff<script>"
	s := watched(hostile, 5)
	s.Workers[0].Detail, s.Snapshot.Restarts[0].Reason = hostile, hostile
	history := samples(60, 10)
	history[30].Mark = grace.Soft
	picture, err := drawSVG(hostile, history)
	if err != nil || strings.Contains(string(picture), "<script>") {
		t.Errorf("%v, %s", err, picture)
	}
	for name, text := range map[string]string{
		"table":   table([]Service{s}, 0, false),
		"json":    jsonLines([]Service{s}),
		"metrics": metrics([]Service{s}),
		"plot":    drawText(hostile, history, 80, 12, false),
		"svg":     string(picture),
		"csv":     csvLines(history),
		"screen":  screenOf(t, &live{services: []Service{s}}),
	} {
		if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && !(name == "svg" && r == '\t') }) {
			t.Errorf("%s: %q", name, text)
		}
		if strings.Contains(text, "b\nc") || !utf8.ValidString(text) {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestSizesAndSpansAreShort(t *testing.T) {
	for kb, want := range map[int64]string{0: "-", 1: "1K", 999: "999K", 1000: "1M", 831488: "812M", 2 << 20: "2.0G", 150 << 20: "150G"} {
		if got := size(kb); got != want {
			t.Errorf("%d KB: %q, want %q", kb, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 45 * time.Second: "45s", 252 * time.Second: "4m12s", 15 * time.Minute: "15m",
		3*time.Hour + 59*time.Minute: "3h", 49 * time.Hour: "2d"} {
		if got := short(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// samples is a history that grows by so many KB a minute.
func samples(n int, perMinute int64) (all []watch.HistorySample) {
	start := time.Now().Truncate(time.Minute).Add(-time.Duration(n) * time.Minute)
	for i := range n {
		all = append(all, watch.HistorySample{At: start.Add(time.Duration(i) * time.Minute), KB: 400000 + int64(i)*perMinute, SoftKB: 1 << 20, HardKB: 2 << 20})
	}
	return all
}

func TestTheSlopeIsThatSinceTheLastRestart(t *testing.T) {
	all := samples(60, 600)
	if got, ok := slope(all); !ok || math.Abs(got-10) > 0.01 {
		t.Errorf("%v KB/s, %v; want 10", got, ok)
	}
	all[55].Mark = grace.Soft
	if _, ok := slope(all); ok {
		t.Error("a slope of four minutes")
	}
}

func TestAHistoryIsReadBackAsItWasWritten(t *testing.T) {
	text := make([]byte, watch.HistorySize)
	copy(text, watch.HistoryMagic)
	want := samples(3000, 10)
	want[7].Mark = grace.Hard
	for _, s := range want {
		slot := s.Encode()
		copy(text[watch.HistoryOffset(s.At):], slot[:])
	}
	now := time.Now()
	got := decodeHistory(text, now.Add(-7*24*time.Hour), now)
	same := func(a, b watch.HistorySample) bool {
		return a.At.Equal(b.At) && a.KB == b.KB && a.SoftKB == b.SoftKB && a.HardKB == b.HardKB && a.Mark == b.Mark
	}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("%d samples %.300v\nwant %d %.300v", len(got), got, len(want), want)
	}
	if later := decodeHistory(text, now.Add(-time.Hour), now.Add(8*24*time.Hour)); len(later) != 0 {
		t.Errorf("%d samples of last week in this one", len(later))
	}
}

func TestThePlotHasSizeLimitsAndRestarts(t *testing.T) {
	all := samples(600, 1000)
	all[300].Mark = grace.Soft
	got := drawText("sidekiq", all, 80, 12, false)
	for _, want := range []string{"hard limit, soft limit, size", "restarts: 1 soft (s)"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	checkWidth(t, got, 80)
	picture, err := drawSVG("sidekiq", all)
	if err != nil || !strings.Contains(string(picture), "prefers-color-scheme: dark") || !strings.Contains(string(picture), `class="soft stroke fill"`) {
		t.Errorf("%v: %.300s", err, picture)
	}
}

func TestAnHourIsALineWithoutGapsAsWell(t *testing.T) {
	for i, b := range buckets(samples(60, 10), 150) {
		if math.IsNaN(b.kb) {
			t.Errorf("column %d is empty", i)
		}
	}
}

// promtool is Prometheus' own checker.
func TestMetricsAreClean(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed")
	}
	down := Service{Name: `we"ird\name`, Path: "/nonexistent", State: Down}
	text := metrics([]Service{watched("sidekiq", 812), watched("puma", 5, 6), down})
	c := exec.Command("promtool", "check", "metrics")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
	for _, want := range []string{`gracekit_rss_bytes{service="sidekiq",instance="1000"} 8.51443712e+08`, `gracekit_watcher_up{service="puma",instance=""} 1`,
		`gracekit_state{service="sidekiq",instance="1000",state="ok"} 1`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
