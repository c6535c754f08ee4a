package main

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"gracekit/lib/grace"
)

var written = record{
	boot:   "5f0c6c52-6a2c-4d52-9f3f-0d1d0a5c8a43",
	target: "/etc/service/side kiq\n\xff\"end",
	soft:   "2000000",
	hard:   "80%",
	paused: true,
	streak: grace.Backoff{Early: 2, Last: 123 * time.Second, Gap: time.Minute, Over: 121 * time.Second},
	wards: []wardRecord{
		{id: "1234:5678901", kb: 2100000, prog: "-", state: grace.State{Over: true, Since: 123456789}},
		{id: "1235:5678902", kb: 7, prog: "99:5678999", tooLow: true,
			state: grace.State{Restarting: true, Committed: true, Reason: grace.Hard, OverHard: true, HardSince: 1, NotBefore: never}},
		{id: "1236:5678903", prog: "-"},
	},
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	for _, r := range []record{written, {boot: "b", target: "1", soft: "0", hard: "0"}} {
		if again, err := parseRecord(r.text()); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v is\n%s, and that is %+v, %v", r, r.text(), again, err)
		}
	}
}

func TestARecordIsLinesForPeopleToRead(t *testing.T) {
	r := record{boot: "b", target: "/etc/service/sidekiq", soft: "2000000", hard: "0",
		streak: grace.Backoff{Early: 2, Last: 123 * time.Second, Gap: time.Minute, Over: 121 * time.Second},
		wards:  []wardRecord{{id: "1234:5678901", kb: 2100000, prog: "-", state: grace.State{Over: true, Since: 9}}}}
	const want = `boot b
target "/etc/service/sidekiq"
limits 2000000 0
paused false
streak 2 123000000000 60000000000 121000000000
process 1234:5678901 2100000 - false over since=9
end
`
	if got := r.text(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestARecordThatIsNotWholeIsDamaged(t *testing.T) {
	text := written.text()
	for n := range len(text) {
		if _, err := parseRecord(text[:n]); !errors.Is(err, errDamaged) {
			t.Fatalf("cut off after %d of %d bytes: %v", n, len(text), err)
		}
	}
}

func TestALineThatIsDamagedIsNamed(t *testing.T) {
	for _, line := range []string{
		"boot", "target sidekiq", `target "a" b`, "target", "limits 1", "limits", "paused", "paused maybe", "streak 1 2", "streak 1 2 -3",
		"streak 1 2 3", "streak 1 2 x", "process", "process 1:2", "process 1:2 3", "process 1:2 3 -", "process 1:2 3 - no way",
		"process 1:2 x - false", "process 1:2 -3 - false", "process 1:2 99999999999999999999 - false",
		"process 1:2 3 - false over since=-1", "process 1:2 3 - false reason=whim", "process 1:2 3 - false sinc",
		"", "unknown 1", "end", " boot b",
	} {
		text := strings.TrimSuffix(written.text(), "end\n") + line + "\nend\n"
		switch r, err := parseRecord(text); {
		case !errors.Is(err, errDamaged):
			t.Errorf("%q: %v", line, err)
		case !strings.Contains(err.Error(), strconv.Quote(line)):
			t.Errorf("%q is not named: %v", line, err)
		case !reflect.DeepEqual(r, record{}):
			t.Errorf("%q: something of it is left: %+v", line, r)
		}
	}
	for _, text := range []string{"", "end\n", "\nend\n", "boot b\nend\n", "target \"t\"\nend\n", "boot b\ntarget \"\"\nend\n"} {
		if _, err := parseRecord(text); !errors.Is(err, errDamaged) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(written.text())
	f.Add("boot b\ntarget `t`\nlimits 0 1%\nprocess a +3 b 1 since=1\nend\n")
	f.Add("boot b\ntarget 't'\nstreak 1 2 3 4\nstreak 4 5 6 7\nend\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		if r.soft == "" { // the line was missing
			r.soft, r.hard = "0", "0"
		}
		if again, err := parseRecord(r.text()); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%q is %+v, and %q is %+v, %v", text, r, r.text(), again, err)
		}
	})
}
