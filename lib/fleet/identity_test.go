package fleet

import "testing"

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		text, host string
		pid        int
		ok         bool
	}{
		{"vm:10361:67a4f0f90879", "vm", 10361, true},
		{"web.1:4:0123456789ab", "web.1", 4, true},
		{"fe80::1%eth0:7:0123456789ab", "fe80::1%eth0", 7, true},
		{"a:b c:7:0123456789ab", "a:b c", 7, true},
		{":7:0123456789ab", "", 0, false},
		{"vm:0:0123456789ab", "", 0, false},
		{"vm:-1:0123456789ab", "", 0, false},
		{"vm:99999999999999999999:0123456789ab", "", 0, false},
		{"vm:7:0123456789a", "", 0, false},
		{"vm:7:0123456789abc", "", 0, false},
		{"vm:7:0123456789aB", "", 0, false},
		{"vm:7:0123456789ag", "", 0, false},
		{"7:0123456789ab", "", 0, false},
		{"1234:567890123456", "", 0, false}, // PID:START
		{"0123456789ab", "", 0, false},
		{"", "", 0, false},
		{"::", "", 0, false},
	} {
		id, ok := ParseIdentity(c.text)
		if ok != c.ok || ok && (id != Identity{c.text, c.host, c.pid}) {
			t.Errorf("%q: %+v, %v; want %+v", c.text, id, ok, c)
		}
	}
}
