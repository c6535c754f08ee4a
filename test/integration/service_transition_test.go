package integration

import "testing"

// At any moment a service that goes up and down has a process or has none: the moments between run, finish and down are no
// damage.
func TestServiceInTransition(t *testing.T) {
	for supervisor, start := range map[string]func(s *sandbox, dir string){
		"runsv":        func(s *sandbox, dir string) { s.Runsv(dir) },
		"s6-supervise": func(s *sandbox, dir string) { s.S6(dir) },
	} {
		t.Run(supervisor, func(t *testing.T) {
			s := newSandbox(t)
			s.Script("svc/run", "exec sleep 1000\n")
			s.Script("svc/finish", "")
			start(s, s.Path("svc"))
			for n := range 20 {
				s.send(s.Path("svc/supervise/control"), []string{"u", "", "d", ""}[n%4])
				r := s.Run("svpid", s.Path("svc"))
				if up := r.Code == 0 && r.Stdout != "" && r.Stderr == ""; !up && (r.Code != 1 || r.Stdout != "") {
					s.Fatalf("svpid: exit %d, want 0 or 1\nstdout: %sstderr: %s", r.Code, r.Stdout, r.Stderr)
				}
			}
		})
	}
}
