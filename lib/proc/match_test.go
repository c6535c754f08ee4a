package proc

import "testing"

func TestAPatternMatchesTheWholeTextAndSlashes(t *testing.T) {
	for _, c := range []struct {
		glob, text string
		matches    bool
	}{
		{"puma: cluster worker*", "puma: cluster worker 0: 17 [shop]", true},
		{"puma: cluster worker*", "puma: cluster worker 0: 17 [a/b]", true},
		{"puma: cluster*", "puma 6.4 (tcp://0.0.0.0:9292) [shop]", false},
		{"*puma*", "/usr/bin/ruby /usr/bin/puma -w 2", true},
		{"/usr/bin/*", "/usr/bin/ruby", true},
		{"worker", "worker 1", false},
		{"worker ?", "worker /", true},
		{"worker [0-3]", "worker 4", false},
		{`\[kworker\]`, "[kworker]", true},
	} {
		if matches := globMatches(c.glob, c.text); matches != c.matches {
			t.Errorf("%q, %q: %v", c.glob, c.text, matches)
		}
	}
}
