package fleet

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// values are those of a hash: info, busy, beat, quiet, rss, and our mark.
func values(info, busy, beat, quiet, rss string, mark any) []any {
	return []any{info, busy, beat, quiet, rss, mark}
}

// the heartbeat in testdata was at this time
var beat = time.UnixMicro(1795356200_000000)

func TestHeartbeatsOfEachSidekiq(t *testing.T) {
	for _, version := range []string{"6.4.1", "7.3.2", "8.1.7"} {
		info := read(t, version+".json")
		in := parseInstance("vm:1:0123456789ab", values(info, "3", "1795356200.25", "false", "29892", nil), 57*time.Second, beat.Add(3*time.Second))
		if in.State() != Running || in.Busy != 3 || in.Concurrency != 5 || in.RSS != 29892 || in.Quiet || in.Embedded ||
			!slices.Equal(in.Queues, []string{"default", "low"}) || in.SinceHeartbeat != 3*time.Second || in.Age.Truncate(time.Second) != 104*time.Second {
			t.Errorf("%s: %+v", version, in)
		}
		if want := strings.TrimPrefix(version, "6.4.1"); in.Version != want {
			t.Errorf("%s: version %q", version, in.Version)
		}
		quiet := parseInstance("x", values(info, "0", "1795356200.25", "true", "29892", nil), 57*time.Second, beat)
		if quiet.State() != Quiet {
			t.Errorf("%s: quiet is %s", version, quiet.State())
		}
	}
}

// The lifetime of its hash tells when an instance had its last heartbeat; the clock of its host only where there is none.
func TestSinceHeartbeat(t *testing.T) {
	const s = time.Second
	for _, c := range []struct{ byClock, ttl, want time.Duration }{
		{3 * s, 57 * s, 3 * s},
		{0, 57 * s, 3 * s},
		{-500 * s, 1 * s, 59 * s},     // a clock ahead
		{100 * s, 57 * s, 3 * s},      // a clock behind
		{3 * s, -1, 3 * s},            // no lifetime: the clock alone tells
		{-100 * s, -1, 100 * s},       // and one that is ahead is no better than one behind
		{-100 * s, 3600 * s, 100 * s}, // a lifetime that no Sidekiq gave
	} {
		if got := sinceHeartbeat(c.byClock, c.ttl); got != c.want {
			t.Errorf("%v, %v: %v, want %v", c.byClock, c.ttl, got, c.want)
		}
	}
}

func TestMarkGoesBeforeQuiet(t *testing.T) {
	info := read(t, "7.3.2.json")
	for _, c := range []struct {
		quiet, mark string
		want        State
	}{
		{"false", "", Running},
		{"true", "", Quiet},
		{"false", "1795356201000 web-1", Claimed},
		{"true", "1795356201000 web-1", Claimed},
		{"true", "1795356199000 web-1", Quiet},
		{"false", "1795356199000 web-1", Running},
		{"false", strings.Repeat("9", 400) + " web-1", Claimed},
		{"false", "-1 x", Running},
		{"false", "nan x", Running},
		{"false", "1795356201000", Running},
		{"false", "0x1A1A1A1A1A1A x", Running},
		{"TRUE", "", Running},
	} {
		in := parseInstance("x", values(info, "0", "1795356200", c.quiet, "1", c.mark), time.Minute, beat)
		if in.State() != c.want {
			t.Errorf("%+v: %s", c, in.State())
		}
	}
	in := parseInstance("x", values(info, "0", "1795356200", "true", "1", "1795356201500 web-1"), time.Minute, beat)
	if in.Claim != (Claim{"web-1", 1500 * time.Millisecond}) {
		t.Errorf("%+v", in.Claim)
	}
}

// A type that we do not know in a field that does not matter is no reason to take an instance for dead.
func TestFieldsOfAnotherType(t *testing.T) {
	for info, concurrency := range map[string]int{
		`{"queues":["a"],"version":9,"concurrency":"many","started_at":"today","capsules":[],"tag":null}`:               0,
		`{"queues":["a"],"capsules":{"default":{"concurrency":5},"single":{"concurrency":1},"odd":{"concurrency":-7}}}`: 6,
		`{"queues":[]}`: 0,
	} {
		in := parseInstance("x", values(info, "many", "1795356200", "false", "-5", nil), time.Minute, beat)
		if in.State() != Running || in.Queues == nil || in.Concurrency != concurrency || in.Busy != 0 || in.RSS != 0 || !in.Started.IsZero() || in.Age != 0 {
			t.Errorf("%s: %+v", info, in)
		}
	}
}

func FuzzInstance(f *testing.F) {
	for _, version := range []string{"6.4.1", "7.3.2", "8.1.7"} {
		f.Add(read(f, version+".json"), "3", "1795356098.15925", "false", "29892", "", int64(57000))
	}
	f.Add(`{"queues":["a"],"started_at":1e308,"concurrency":1e18}`, "9223372036854775807", "1e10", "true", "-1", "99999999999999999999 x", int64(-1))
	f.Fuzz(func(t *testing.T, info, busy, beatText, quiet, rss, mark string, ttl int64) {
		in := parseInstance("x", values(info, busy, beatText, quiet, rss, mark), time.Duration(ttl), beat)
		if in.Busy < 0 || in.Concurrency < 0 || in.RSS < 0 || in.Age < 0 || in.SinceHeartbeat < 0 || in.Claim.Left < 0 {
			t.Errorf("negative: %+v", in)
		}
		if in.State() != Dead && (!in.Known || in.SinceHeartbeat >= lifetime || in.Queues == nil) {
			t.Errorf("alive: %+v", in)
		}
	})
}

func TestJobsOfEachSidekiq(t *testing.T) {
	now := time.Unix(1795356150, 500e6)
	sleepJob := Job{JID: "c854e5fff1e7ed223a98f9d7", Class: "SleepJob", Queue: "default", Running: 40500 * time.Millisecond}
	mail := Job{JID: "0123456789abcdef01234567", Class: "ActionMailer::MailDeliveryJob", Queue: "mailers", Running: 40500 * time.Millisecond}
	for text, want := range map[string]Job{
		read(t, "job-6.4.1.json"):     sleepJob,
		read(t, "job-8.1.7.json"):     sleepJob,
		read(t, "job-activejob.json"): mail,
		`{"queue":"q","payload":{"class":"Old","jid":"1"},"run_at":1795356200}`: {JID: "1", Class: "Old", Queue: "q"}, // an object, and a clock ahead
		`{"queue":7,"payload":"{\"class\":\"C\",\"jid\":8}","run_at":"x"}`:      {Class: "C"},
		`{"queue":"q","payload":"no JSON","run_at":-1}`:                         {Queue: "q"},
		`{"payload":"{\"class\":\"C\",\"wrapped\":{}}"}`:                        {Class: "C"},
		`{"payload":null}`: {}, `{"payload":"null"}`: {}, `[]`: {}, `"`: {}, ``: {}, `{"payload":`: {},
	} {
		got := parseJob([]byte(text), now)
		if got.JID != "" && parsePayload([]byte(got.Payload)).JID != got.JID {
			t.Errorf("%s: payload %s", text, got.Payload)
		}
		if got.Payload = ""; got != want {
			t.Errorf("%s\n got %+v\nwant %+v", text, got, want)
		}
	}
}
