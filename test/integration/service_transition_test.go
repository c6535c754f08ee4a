package integration

import (
	"gracekit/test/harness"
	"testing"
)

// At any moment a service that goes up and down has a process or has none: the moments
// between run, finish and down are no damage.
func TestServiceInTransition(t *testing.T) {
	t.Parallel()
	bothSupervisors(t, func(s *sandbox, dir string, start func() harness.Service) {
		s.Write("svc/run", "#!/bin/sh\nexec sleep 1000\n", 0o755)
		s.Write("svc/finish", "#!/bin/sh\n", 0o755)
		v := start()
		v.Running()
		for range 5 {
			v.Down()
			s.isUpOrDown(dir)
			s.isUpOrDown(dir)
			v.Up()
			s.isUpOrDown(dir)
			if s.Failed() {
				break
			}
		}
	})
}

func (s *sandbox) isUpOrDown(target string) {
	s.Helper()
	r := s.Run("svpid", target)
	if up := r.Code == 0 && r.Stdout != "" && r.Stderr == ""; !up && (r.Code != 1 || r.Stdout != "") {
		s.Errorf("svpid: exit %d, want 0 or 1\nstdout: %sstderr: %s", r.Code, r.Stdout, r.Stderr)
	}
}
