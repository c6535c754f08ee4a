package units

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// The job hook reads sizes in Ruby. Its test reads the same table.
func TestSizes(t *testing.T) {
	text, err := os.ReadFile("testdata/sizes.json")
	if err != nil {
		t.Fatal(err)
	}
	var table map[string]any // KB, "share", or nil: invalid
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&table); err != nil {
		t.Fatal(err)
	}
	for text, want := range table {
		size, err := ParseSize(text)
		switch {
		case want == nil:
			if message := fmt.Sprintf("invalid size %q (want 2000000, 1500M or 80%%)", text); err == nil || err.Error() != message {
				t.Errorf("%q: %v, %v; want %s", text, size, err, message)
			}
		case err != nil || size.IsShare() != (want == "share") || !size.IsShare() && fmt.Sprint(size.KB(0)) != fmt.Sprint(want):
			t.Errorf("%q: %v, %v; want %v", text, size, err, want)
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
