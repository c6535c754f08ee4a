package proc

import "testing"

func TestAPatternMatchesTheWholeTextAndSlashes(t *testing.T) {
	for _, c := range []struct {
		glob, text string
		matches    bool
	}{
		{"puma: cluster worker*", "puma: cluster worker 0: 17 [a/b]", true},
		{"*puma*", "/usr/bin/ruby /usr/bin/puma -w 2", true},
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
