package integration

import (
	"fmt"
	"os"
	"os/exec"
)

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

func (s *sandbox) script(name, text string) string {
	s.Helper()
	return s.write(name, "#!/bin/sh\n"+text, 0o755)
}

// pidOf is the pid of PID:START.
func pidOf(id string) (pid int) {
	fmt.Sscanf(id, "%d:", &pid)
	return pid
}
