package integration

import "testing"

// At any moment a service that goes up and down has a process or has none: the moments between run, finish and down are no
// damage.
func TestServiceInTransition(t *testing.T) {
	type service interface {
		Up()
		Down()
	}
	for supervisor, start := range map[string]func(s *sandbox, dir string) service{
		"runsv":        func(s *sandbox, dir string) service { return s.Runsv(dir) },
		"s6-supervise": func(s *sandbox, dir string) service { return s.S6(dir) },
	} {
		t.Run(supervisor, func(t *testing.T) {
			s := newSandbox(t)
			s.Script("svc/run", "exec sleep 1000\n")
			s.Script("svc/finish", "")
			v := start(s, s.Path("svc"))
			for n := range 20 {
				if n%4 == 0 {
					v.Up()
				} else if n%4 == 2 {
					v.Down()
				}
				r := s.Run("svpid", s.Path("svc"))
				if up := r.Code == 0 && r.Stdout != "" && r.Stderr == ""; !up && (r.Code != 1 || r.Stdout != "") {
					s.Fatalf("svpid: exit %d, want 0 or 1\nstdout: %sstderr: %s", r.Code, r.Stdout, r.Stderr)
				}
			}
		})
	}
}
