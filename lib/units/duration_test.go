package units

import (
	"fmt"
	"testing"
	"time"
)

func TestADurationIsSecondsUnlessItHasAUnit(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0":     0,
		"90":    90 * time.Second,
		"0.25":  250 * time.Millisecond,
		"500ms": 500 * time.Millisecond,
		"90s":   90 * time.Second,
		"15m":   15 * time.Minute,
		"1h30m": 90 * time.Minute,
		"inf":   Never.Std(),
	} {
		d, err := ParseDuration(text)
		if err != nil || d.Std() != want {
			t.Errorf("%s: %v, %v; want %v", text, d, err, want)
		}
	}
}

func TestInvalidDurationsAreNamed(t *testing.T) {
	for _, text := range []string{"", "x", "-1", "-1s", "+1", "1e3", "1x", "s", "Inf", "infinity", "NaN", " 1", "1h-30m", "99999999999999"} {
		_, err := ParseDuration(text)
		if err == nil || err.Error() != fmt.Sprintf("invalid duration %q (want 90, 0.5, 500ms, 15m, 1h30m or inf)", text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"0", "90", "0.25", "500ms", "1h30m", "inf", "-1", "1h-30m", "9223372036.9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Errorf("%q is %v", text, d)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is %v, and that is %v, %v", text, d, again, err)
		}
	})
}
