package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// s6 2.13 and later tell finish the process group of the dead run; Debian's 2.11 does not, so run notes it here, and
// finish gives what it finds. Whether the file of pgexec is there or not, names that process or another: its group ends.
func TestFinishEndsTheGroupThatS6Names(t *testing.T) {
	t.Parallel()
	const leaves = `(trap "" HUP TERM; exec sleep 1000) & exec sleep 1000`
	for name, run := range map[string]string{
		"no file":      "exec sh -c '" + leaves + "'",
		"its file":     "exec pgexec -f supervise/pgid sh -c '" + leaves + "'",
		"another file": "echo 999:1 >supervise/pgid\nexec sh -c '" + leaves + "'",
		"two groups":   "pgexec -f supervise/pgid sh -c '" + leaves + "' & exec sleep 1000",
	} {
		for finish, exec := range map[string]string{"exec": "exec ", "no exec": ""} {
			t.Run(name+", "+finish, func(t *testing.T) {
				t.Parallel()
				underShells(t, func(s *sandbox, sh *shell) {
					sh.script("svc/run", "echo $$ >pid\n"+run+"\n")
					sh.script("svc/finish", "read -r pgid <pid\n"+exec+"group-cleanup supervise/pgid \"$pgid\"\n")
					v := sh.s6()
					leader := v.running()
					n := 2
					if strings.HasPrefix(name, "two") {
						n = 3
					}
					members := s.sleepers(n)
					for _, p := range members {
						s.Cleanup(p.kill)
					}
					syscall.Kill(leader.pid, syscall.SIGKILL)
					next := v.running(leader)
					for _, p := range members {
						if p.alive() {
							s.Errorf("left behind when the next one (%d) runs: %v", next.pid, p)
						}
					}
					s.sleepers(n) // those of the next have been noted too, and so end with it
				})
			})
		}
	}
}

// sleepers waits until so many processes of the test sleep, and returns them.
func (s *sandbox) sleepers(n int) (found []process) {
	s.Helper()
	s.waitFor(fmt.Sprintf("%d sleep", n), func() bool {
		found = nil
		for _, p := range processesWith(s.mark, nil) {
			if text := p.String(); strings.HasSuffix(text, "sleep 1000") && !strings.Contains(text, "sh -c") {
				found = append(found, p)
			}
		}
		return len(found) == n
	})
	return found
}

// s6 is s6-supervise over svc, with the shell's PATH.
func (sh *shell) s6() *s6 {
	sh.s.Helper()
	sh.s.write("svc/timeout-finish", "60000\n", 0o644) // a busy machine is no matter of these tests
	c := sh.s.command("s6-supervise", sh.s.path("svc"))
	c.Env = append(c.Env, "PATH="+sh.PATH)
	c.Stdout, c.Stderr = sh.s.log("s6-supervise.log")
	v := &s6{sh.s.start(c), sh.s, sh.s.path("svc")}
	sh.s.Cleanup(v.exit)
	sh.s.waitFor("s6-supervise is there", v.supervised)
	return v
}

// A number that is another process's by now, or an older group's, is nobody's of this service: nothing is signalled.
func TestFinishSpares(t *testing.T) {
	t.Parallel()
	underShells(t, func(s *sandbox, sh *shell) {
		older := s.start(s.command("sh", "-c", "sleep 1000 & exec sleep 1000")) // leads a group, and started before s6-supervise
		orphans := s.start(s.command("sh", "-c", "sleep 1000 & echo $! >orphan"))
		<-orphans.gone // a group without its leader
		orphan, _ := look(s.pidIn("orphan"))
		s.Cleanup(orphan.kill)
		s.waitATick()
		sh.script("svc/run", "exec sleep 1000\n")
		sh.script("svc/finish", "read -r pgid <given\ncode=0\ngroup-cleanup supervise/pgid $pgid 2>said || code=$?\necho $code >code.new && mv code.new code\n")
		v := sh.s6()
		younger := s.start(s.command("sh", "-c", "sleep 1000 & exec sleep 1000")) // as a process that got the number since
		members := append(append(s.groupOf(older.process, 2), s.groupOf(younger.process, 2)...), orphan)
		var before []process
		for given, want := range map[string]string{
			fmt.Sprint(older.pid):       "0",
			fmt.Sprint(orphans.pid):     "0",
			fmt.Sprint(younger.pid):     "0",
			fmt.Sprint(v.process.pid):   "0",
			fmt.Sprint(os.Getpid()):     "0",
			"1":                         "100",
			"0":                         "100",
			"-" + fmt.Sprint(older.pid): "100",
			"x":                         "100",
			"12345678":                  "100",
			"1:1":                       "100",
		} {
			s.write("svc/given", given+"\n", 0o644)
			p := v.running(before...)
			before = append(before, p)
			p.kill()
			s.waitFor("finish has ended", func() bool { _, err := os.Stat(s.path("svc/code")); return err == nil })
			if got := firstLine(s.path("svc/code")); got != want {
				said, _ := os.ReadFile(s.path("svc/said"))
				s.Errorf("PGID %s: exit %s, want %s\n%s", given, got, want, said)
			}
			os.Remove(s.path("svc/code"))
			for _, m := range members {
				if !m.alive() {
					s.Fatalf("PGID %s: signalled", given)
				}
			}
		}
		// By hand, under no s6-supervise: of any age, but that of a dead leader alone.
		for _, given := range []process{older.process, orphans.process} {
			if r := sh.run(nil, "group-cleanup", s.path("none"), fmt.Sprint(given.pid)); r.code != 0 || r.stderr != "" {
				s.Errorf("by hand: exit %d, want 0: %s", r.code, r.stderr)
			}
		}
		if !older.alive() || orphan.alive() {
			s.Errorf("by hand: with a leader %v, without one %v", older, orphan)
		}
	})
}

func (s *sandbox) pidIn(name string) int {
	s.Helper()
	pid, err := strconv.Atoi(firstLine(s.path(name)))
	if err != nil {
		s.Fatal(err)
	}
	return pid
}

// waitATick: what starts from now on has a later start time.
func (s *sandbox) waitATick() {
	s.Helper()
	first := s.start(s.command("sleep", "1000"))
	s.waitFor("a clock tick has gone by", func() bool {
		next := s.start(s.command("sleep", "1000"))
		defer next.kill()
		return next.process.start != first.process.start
	})
	first.kill()
}
