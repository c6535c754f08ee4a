package proc

import (
	"strings"
	"testing"
)

func TestAStatmIsReadAndNonsenseRefused(t *testing.T) {
	for text, want := range map[string]uint64{"9000 2000 500 300 0 5000 0\n": 2000, "0 0 0 0 0 0 0\n": 0} {
		if pages, ok := residentPages([]byte(text)); !ok || pages != want {
			t.Errorf("%q: %d, %v; want %d", text, pages, ok, want)
		}
	}
	for _, text := range []string{"", "123", "123 ", "Transport endpoint is not connected", "100 -1 1 1 1 1 1",
		"99999999999999999999999 99999999999999999999999 1 1 1 1 1", strings.Repeat("\x00", 40)} {
		if pages, ok := residentPages([]byte(text)); ok {
			t.Errorf("%q: %d pages, want none", text, pages)
		}
	}
}
