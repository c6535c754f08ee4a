package integration

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// shell runs the programs that are scripts, by /bin/sh.
type shell struct {
	s    *sandbox
	PATH string
}

func underShells(t *testing.T, test func(*sandbox, *shell)) {
	s := newSandbox(t)
	test(s, &shell{s: s, PATH: os.Getenv("PATH")})
}

func (s *sandbox) make(folders ...string) {
	s.Helper()
	for _, f := range folders {
		if err := os.MkdirAll(s.path(f), 0o755); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *sandbox) link(to, name string) {
	s.Helper()
	if err := os.Symlink(to, s.path(name)); err != nil {
		s.Fatal(err)
	}
}

func (s *sandbox) must(name string, args ...string) {
	s.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		s.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func (sh *shell) interpret(folder string) {}

func (sh *shell) script(name, text string) {
	sh.s.Helper()
	sh.s.write(name, "#!/bin/sh\n"+text, 0o755)
}

// pidOf is the pid of PID:START.
func pidOf(id string) (pid int) {
	fmt.Sscanf(id, "%d:", &pid)
	return pid
}
