package units

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Duration is a span of time that is not negative. It is a flag value.
type Duration time.Duration

// Never is what "inf" means: no wait ends by it.
const Never = Duration(math.MaxInt64)

// ParseDuration reads seconds, fractions allowed, or Go's units (500ms, 90s, 15m, 1h30m), or inf.
func ParseDuration(s string) (Duration, error) {
	d, ok := parseDuration(s)
	if !ok {
		return 0, fmt.Errorf("invalid duration %q (want 90, 0.5, 500ms, 15m, 1h30m or inf)", s)
	}
	return d, nil
}

func parseDuration(s string) (Duration, bool) {
	if s == "inf" {
		return Never, true
	}
	digits, unit := splitNumber(s)
	if digits == "" { // a sign too: a negative wait has no meaning
		return 0, false
	}
	if unit != "" {
		d, err := time.ParseDuration(s)
		return Duration(d), err == nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	ns := f * float64(time.Second)
	return Duration(ns), err == nil && ns < math.MaxInt64
}

// Std is d as the time package has it; Never stays the longest there is.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Seconds is d in seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

// Set is ParseDuration, for a flag.
func (d *Duration) Set(text string) (err error) {
	*d, err = ParseDuration(text)
	return err
}

// String is the duration as ParseDuration reads it.
func (d Duration) String() string {
	if d == Never {
		return "inf"
	}
	return time.Duration(d).String()
}

// Type is the word that stands for the value in a usage.
func (d Duration) Type() string { return "DURATION" }
