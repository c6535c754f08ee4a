package integration

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// pgexec in run and pgsignal in finish: what a leader that died by -9 left behind is gone before the next one starts.
func TestFinishEndsTheGroupOfADeadLeader(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]string{
		"pgsignal":      "exec pgsignal supervise/pgid TERM/5/KILL/5",
		"group-cleanup": "exec group-cleanup",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.need(name)
			// Two children that do not end with their leader: one ignores HUP, the other one TERM too.
			s.write("svc/run", `#!/bin/sh
exec pgexec -f supervise/pgid sh -c '(trap "" HUP; exec sleep 1000) & (trap "" HUP TERM; exec sleep 1000) & wait'
`, 0o755)
			s.write("svc/finish", "#!/bin/sh\n"+finish+"\n", 0o755)
			v := s.runsv(s.path("svc"))
			leader := v.running()
			members := s.groupOf(leader, 3)
			if slices.ContainsFunc(members, func(p process) bool { return p.pid == v.process.pid }) {
				s.Fatalf("runsv is in the group: %v", members)
			}
			syscall.Kill(leader.pid, syscall.SIGKILL)
			next := v.running(leader)
			for _, p := range members {
				if p.alive() {
					s.Errorf("left behind when the next one (%d) runs: %v", next.pid, p)
				}
			}
			if !v.alive() {
				s.Error("runsv was signalled")
			}
		})
	}
}

// finish has nothing to do, and does nothing, where all have ended: it takes no time.
func TestFinishAfterAnEmptyGroup(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	leader := s.start(s.command("pgexec", "-f", s.path("pgid"), "true"))
	<-leader.gone
	begun := time.Now()
	s.wants(0, "pgsignal", s.path("pgid"), "TERM/1000/KILL/5")
	if took := time.Since(begun); took > patience/2 {
		s.Errorf("waited %v for nobody", took)
	}
}
