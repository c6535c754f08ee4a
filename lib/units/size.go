// Package units reads sizes and durations as people write them.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a limit in KB, or a share of the memory that is there for a process.
// The zero Size stands for no limit. It is a flag value (Set, String, Type).
type Size struct {
	kb      int64
	percent float64 // above 0: a share, and kb is not used
}

// ParseSize reads a number, in KB unless it has a suffix: B K M G T (powers of
// 1024, also written KiB or KB, in either case), or a share such as 80%.
// Less than a KB is rounded up, so that a limit never becomes none.
func ParseSize(s string) (Size, error) {
	size, ok := parseSize(s)
	if !ok {
		return Size{}, fmt.Errorf("invalid size %q (want 2000000, 1500M or 80%%)", s)
	}
	return size, nil
}

func parseSize(s string) (Size, bool) {
	digits, suffix := splitNumber(s)
	if suffix == "%" {
		p, err := strconv.ParseFloat(digits, 64)
		return Size{percent: p}, err == nil && p <= 100
	}
	unit, ok := unitBytes(suffix)
	if !ok {
		return Size{}, false
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil { // whole numbers are kept exact
		if unit < 1024 {
			return Size{kb: n/1024 + (n%1024+1023)/1024}, true
		}
		return Size{kb: n * (unit / 1024)}, n <= math.MaxInt64/(unit/1024)
	}
	f, err := strconv.ParseFloat(digits, 64)
	kb := math.Ceil(f * float64(unit) / 1024)
	return Size{kb: int64(kb)}, err == nil && kb < math.MaxInt64
}

// unitBytes is the number of bytes that a suffix stands for.
func unitBytes(suffix string) (int64, bool) {
	suffix = strings.ToUpper(suffix)
	if suffix == "" {
		return 1 << 10, true
	}
	letter, rest := suffix[0], suffix[1:]
	if letter == 'B' {
		return 1, rest == ""
	}
	power := strings.IndexByte("KMGT", letter)
	if power < 0 || rest != "" && rest != "B" && rest != "IB" {
		return 0, false
	}
	return 1 << (10 * (power + 1)), true
}

// splitNumber cuts s behind its leading digits and points: no sign, no exponent.
func splitNumber(s string) (digits, suffix string) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	return s[:i], s[i:]
}

// KB is the size in KB, where available is the memory in KB of which a share is taken.
func (s Size) KB(available int64) int64 {
	if s.percent > 0 {
		return int64(math.Ceil(float64(available) * s.percent / 100))
	}
	return s.kb
}

// IsShare tells whether KB needs to know the available memory.
func (s Size) IsShare() bool { return s.percent > 0 }

// IsZero tells whether this stands for no limit.
func (s Size) IsZero() bool { return s.kb == 0 && s.percent == 0 }

// Set is ParseSize, for a flag.
func (s *Size) Set(text string) (err error) {
	*s, err = ParseSize(text)
	return err
}

// String is the size as ParseSize reads it.
func (s Size) String() string {
	if s.IsShare() {
		return strconv.FormatFloat(s.percent, 'f', -1, 64) + "%"
	}
	return strconv.FormatInt(s.kb, 10)
}

// Type is the word that stands for the value in a usage.
func (s Size) Type() string { return "SIZE" }
