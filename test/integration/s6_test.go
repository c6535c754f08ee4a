package integration

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An s6 is a real s6-supervise over one service directory.
type s6 struct {
	*child
	s   *sandbox
	dir string
}

// s6 starts s6-supervise over a service directory. At the end of the test it is told to exit.
func (s *sandbox) s6(dir string) *s6 {
	s.Helper()
	c := s.command("s6-supervise", dir)
	c.Stdout, c.Stderr = s.log("s6-supervise.log")
	v := &s6{s.start(c), s, dir}
	s.Cleanup(v.exit)
	s.waitFor("s6-supervise is there", v.supervised)
	return v
}

func (v *s6) supervised() bool {
	fd, err := unix.Open(v.dir+"/supervise/control", unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// control is s6-svc's: -u, -d, -o, -t, -k...
func (v *s6) control(options ...string) {
	v.s.Helper()
	v.s.wants(0, "s6-svc", append(options, v.dir)...)
}

func (v *s6) exit() {
	if !v.alive() {
		return
	}
	v.control("-xd")
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-v.gone:
	case <-deadline.C:
		v.s.Errorf("s6-supervise %s did not exit", v.dir)
	}
}

// stat is s6's own view: "true 123" (up, pid), "false -1".
func (v *s6) stat(fields string) []string {
	v.s.Helper()
	return strings.Fields(v.s.run("s6-svstat", "-o", fields, v.dir).stdout)
}

// running waits for the service to be up, and returns its process.
func (v *s6) running(not ...process) (p process) {
	v.s.Helper()
	v.s.waitFor(fmt.Sprintf("%s runs", v.dir), func() (alive bool) {
		stat := v.stat("up,pid")
		if len(stat) != 2 || stat[0] != "true" {
			return false
		}
		pid, _ := strconv.Atoi(stat[1])
		if p, alive = look(pid); !alive {
			return false
		}
		for _, old := range not {
			if old.id() == p.id() {
				return false
			}
		}
		return p.ppid == v.process.pid
	})
	return p
}
