// Package integration proves what only the real things show: runsv, s6-supervise, redis-server, Sidekiq, Puma.
package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"gracekit/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, "./cmd/...")
}

// A sandbox is a world with what this package is about.
type sandbox struct{ *harness.World }

// newSandbox also has the test run beside the others.
func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	t.Parallel()
	return &sandbox{harness.New(t)}
}

// testdata is the absolute path of a file of testdata.
func testdata(name string) string { return harness.Repo() + "/test/integration/testdata/" + name }

// block is the first block of code in a page that has a word, without its indentation or fence.
func (s *sandbox) block(file, word string) string {
	s.Helper()
	text, err := os.ReadFile(harness.Repo() + "/" + file)
	s.Check(err)
	for _, m := range regexp.MustCompile("(?s)```\\w*\n(.*?)```|((?:\n    [^\n]*)+)").FindAllStringSubmatch(string(text), -1) {
		if code := m[1] + strings.ReplaceAll(m[2], "\n    ", "\n"); strings.Contains(code, word) {
			return code
		}
	}
	s.Fatalf("%s: no block of code with %q", file, word)
	return ""
}

// children are those of a process whose title begins with a text.
func children(parent harness.Process, title string) (found []harness.Process) {
	for _, p := range harness.Processes() {
		if p.PPID == parent.PID && strings.HasPrefix(p.Title(), title) {
			found = append(found, p)
		}
	}
	return found
}

func (s *sandbox) haveEnded(processes ...harness.Process) {
	s.Helper()
	for _, p := range processes {
		if p.Alive() {
			s.Errorf("it is still there: %v", p)
		}
	}
}
