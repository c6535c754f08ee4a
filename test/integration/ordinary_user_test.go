package integration

import (
	"fmt"
	"testing"
)

// An ordinary user can do with processes what the kernel allows, and is refused in one line where it does not.
func TestOrdinaryUser(t *testing.T) {
	s := newSandbox(t)
	s.NeedRoot()
	s.Need("chpst")
	s.Must("chmod", "755", s.Dir)
	own := s.Start(s.Command("chpst", "-u", "nobody", "sleep", "1000"))
	s.Script("svc/run", "exec sleep 1000\n")
	v := s.Runsv(s.Path("svc"))
	theirs := v.Running()
	pidfile := s.Write("pidfile", fmt.Sprintln(theirs.PID), 0o644)
	for _, c := range []struct {
		code    int
		command []string
	}{
		{0, []string{"svpid", own.ID()}},
		{0, []string{"rssprobe", own.ID()}},
		{0, []string{"svpid", theirs.ID()}},
		{0, []string{"rssprobe", theirs.ID()}},
		{111, []string{"pgsignal", "-p", theirs.ID(), "TERM/1/KILL"}},
		{0, []string{"svpid", pidfile}},
		{111, []string{"pgsignal", "-p", pidfile, "TERM/1/KILL"}},
		{111, []string{"svpid", v.Dir}}, // supervise is 0700
		{0, []string{"pgsignal", own.ID(), "TERM/120"}},
	} {
		s.Wants(c.code, "chpst", append([]string{"-u", "nobody"}, c.command...)...)
	}
	if !theirs.Alive() {
		s.Error("signalled")
	}
}
