package integration

import (
	"testing"
)

// Whenever one looks at a service that goes up and down, there is a process or there is none: the moments
// between run, finish and down are no damage.
func TestServiceInTransition(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() supervised) {
		s.write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		s.write("svc/finish", "#!/bin/sh\n", 0o755)
		v := start()
		v.running()
		for range 5 {
			v.down()
			s.isUpOrDown(dir)
			s.isUpOrDown(dir)
			v.up()
			s.isUpOrDown(dir)
			if s.Failed() {
				break
			}
		}
	})
}

func (s *sandbox) isUpOrDown(target string) {
	s.Helper()
	r := s.run("svpid", target)
	if up := r.code == 0 && r.stdout != "" && r.stderr == ""; !up && (r.code != 1 || r.stdout != "") {
		s.Errorf("svpid: exit %d, want 0 or 1\nstdout: %sstderr: %s", r.code, r.stdout, r.stderr)
	}
}
