package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A runsv is a real runsv over one service directory.
type runsv struct {
	*child
	s   *sandbox
	dir string
}

// runsv starts runsv over a service directory. At the end of the test it is told to exit, as sv exit does.
func (s *sandbox) runsv(dir string, env ...string) *runsv {
	s.Helper()
	c := s.command("runsv", dir)
	c.Env = append(c.Env, env...)
	c.Stdout, c.Stderr = s.log(filepath.Base(dir) + ".runsv.log")
	v := &runsv{s.start(c), s, dir}
	s.Cleanup(v.exit)
	s.waitFor("runsv is there", func() bool { return v.supervised() })
	return v
}

// supervised is runit's own test: somebody reads supervise/ok.
func (v *runsv) supervised() bool {
	fd, err := unix.Open(v.dir+"/supervise/ok", unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// control writes runsv's own control bytes: u up, d down, p pause, c continue, t term, k kill, x exit.
func (v *runsv) control(bytes string) {
	v.s.Helper()
	f, err := os.OpenFile(v.dir+"/supervise/control", os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		_, err = f.WriteString(bytes)
		f.Close()
	}
	if err != nil && v.alive() {
		v.s.Error(err)
	}
}

func (v *runsv) exit() {
	for deadline := time.Now().Add(patience / 2); v.alive(); {
		v.control("x")
		select {
		case <-v.gone:
			return
		case <-time.After(5 * time.Second):
			// Ruby 3.1 loses a TERM that comes in its first milliseconds: told again.
		}
		if time.Now().After(deadline) {
			v.s.Errorf("runsv %s did not exit: %s", v.dir, v.stat())
			for _, p := range processesWith(v.s.mark, map[int]bool{v.sid: true}) {
				p.kill()
			}
			return
		}
	}
}

// stat is what runsv says of itself: run, down, finish, with ", paused" and so on.
func (v *runsv) stat() string { return firstLine(v.dir + "/supervise/stat") }

// pid is that of ./run or of ./finish, 0 when down.
func (v *runsv) pid() int {
	pid, _ := strconv.Atoi(firstLine(v.dir + "/supervise/pid"))
	return pid
}

// noted tells whether supervise/status has a pid, too: runsv writes it last, and
// our programs read it alone.
func (v *runsv) noted(pid int) bool {
	text, err := os.ReadFile(v.dir + "/supervise/status")
	return err == nil && len(text) == 20 && binary.LittleEndian.Uint32(text[12:]) == uint32(pid)
}

// running waits for a process other than the given ones and returns it.
func (v *runsv) running(not ...process) (p process) {
	v.s.Helper()
	v.s.waitFor(fmt.Sprintf("%s runs", v.dir), func() (alive bool) {
		if !strings.HasPrefix(v.stat(), "run") {
			return false
		}
		if p, alive = look(v.pid()); !alive || !v.noted(p.pid) {
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

// logger is the process of log/run.
func (v *runsv) logger() process {
	v.s.Helper()
	var p process
	v.s.waitFor(v.dir+"/log runs", func() (alive bool) {
		pid, _ := strconv.Atoi(firstLine(v.dir + "/log/supervise/pid"))
		p, alive = look(pid)
		return alive
	})
	return p
}

func firstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// serviceDir copies one of the repository's service directories into the sandbox, as a user does: cp -a.
func (s *sandbox) serviceDir(from, name string) string {
	s.Helper()
	to := s.path(name)
	if out, err := exec.Command("cp", "-a", repo+"/"+from, to).CombinedOutput(); err != nil {
		s.Fatalf("cp: %s", out)
	}
	s.logsTo(to)
	return to
}

// logsTo has a copy of a shipped service log into its own folder instead of /var/log, where tests would meet.
func (s *sandbox) logsTo(dir string) {
	s.Helper()
	text, err := os.ReadFile(dir + "/log/run")
	if os.IsNotExist(err) {
		return
	}
	changed := strings.Replace(string(text), "log=/var/log/${service##*/}", "log=./main", 1)
	if err != nil || changed == string(text) {
		s.Fatalf("%s/log/run: %v: %s", dir, err, text)
	}
	if err := os.WriteFile(dir+"/log/run", []byte(changed), 0o755); err != nil {
		s.Fatal(err)
	}
}

// conf sets a variable of a service directory: a file in its conf/, which chpst -e reads.
func (s *sandbox) conf(dir string, settings map[string]string) {
	s.Helper()
	for name, value := range settings {
		if err := os.MkdirAll(dir+"/conf", 0o755); err != nil {
			s.Fatal(err)
		}
		if err := os.WriteFile(dir+"/conf/"+name, []byte(value+"\n"), 0o644); err != nil {
			s.Fatal(err)
		}
	}
}
