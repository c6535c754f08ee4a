package units

import (
	"strings"
	"testing"
)

func TestASizeIsKBUnlessItHasASuffix(t *testing.T) {
	for text, kb := range map[string]int64{
		"0":                0,
		"2000000":          2000000,
		"1500M":            1500 << 10,
		"1500MiB":          1500 << 10,
		"1500MB":           1500 << 10,
		"1500m":            1500 << 10,
		"2G":               2 << 20,
		"1.5G":             3 << 19,
		"1T":               1 << 30,
		"64K":              64,
		"1024B":            1,
		"1025B":            2,
		"1B":               1, // never rounded down to no limit
		"0B":               0,
		"0.1":              1,
		"9007199254740993": 9007199254740993,
	} {
		size, err := ParseSize(text)
		if err != nil || size.KB(0) != kb {
			t.Errorf("%s: %d KB, %v; want %d KB", text, size.KB(0), err, kb)
		}
	}
}

func TestAShareIsOfTheAvailableMemory(t *testing.T) {
	for text, kb := range map[string]int64{"80%": 800, "100%": 1000, "12.5%": 125, "0.01%": 1, "0%": 0} {
		size, err := ParseSize(text)
		if err != nil || size.KB(1000) != kb {
			t.Errorf("%s of 1000: %d KB, %v; want %d KB", text, size.KB(1000), err, kb)
		}
	}
}

func TestWhatIsNoSizeIsNamed(t *testing.T) {
	for _, text := range []string{"", "2Q", "-1", "+1", "1e3", "0x10", "1_000", "inf", "NaN", " 1", "1 ", "K", "1KK", "1BB", "1iB",
		"1.2.3", ".", "101%", "-1%", "%", "9223372036854775808", "9007199254740993T", "99999999999999999999%"} {
		_, err := ParseSize(text)
		if err == nil || !strings.Contains(err.Error(), "is no size (2000000, 1500M, 80%)") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "2000000", "1500M", "80%", "1.5GiB", "2Q", "9007199254740993T", "1B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		if kb := size.KB(1 << 40); kb < 0 || size.IsShare() && kb > 1<<40 {
			t.Errorf("%q is %d KB", text, kb)
		}
		again, err := ParseSize(size.String())
		if err != nil || again != size {
			t.Errorf("%q is %v, and that is %v, %v", text, size, again, err)
		}
	})
}
