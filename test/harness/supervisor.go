package harness

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A supervisor is what runsv and s6-supervise have in common.
type supervisor struct {
	*Child
	w   *World
	Dir string
}

func (w *World) supervise(program, dir string, env []string) supervisor {
	w.Helper()
	c := w.Command(program, dir)
	c.Env = append(c.Env, env...)
	c.Stdout, c.Stderr = w.Output(filepath.Base(dir) + "." + program + ".log")
	return supervisor{w.Start(c), w, dir}
}

// awaitReader waits until the supervisor reads a FIFO of its own: it is ready.
func (v *supervisor) awaitReader(fifo string) {
	v.w.Helper()
	v.w.Eventually(v.Dir+" is supervised", func() bool {
		fd, err := unix.Open(filepath.Join(v.Dir, fifo), unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err == nil
	})
}

// exit has the supervisor exit with its service. It is asked again and again, because Ruby 3.1 loses a TERM that comes in
// its first milliseconds; a service that ignores TERM is killed.
func (v *supervisor) exit(ask, kill func()) {
	v.w.Helper()
	for n := 0; v.Alive(); n++ {
		if n == 24 { // two minutes
			v.w.Errorf("the supervisor of %s did not exit: %v", v.Dir, v.Process)
			v.Kill()
			return
		}
		ask()
		if Happens(v.Done, 5*time.Second) {
			return
		}
		if n > 0 {
			kill()
		}
	}
}

// Running waits for the process of ./run, other than the given ones. It is in supervise/status, which the supervisor writes
// last, and which our programs read.
func (v *supervisor) Running(not ...Process) (p Process) {
	v.w.Helper()
	isOld := func(old Process) bool { return old.ID() == p.ID() }
	v.w.Eventually(v.Dir+" runs", func() (alive bool) {
		status, err := readStatus(v.Dir)
		p, alive = FindProcess(status.pid)
		return err == nil && status.phase == "run" && alive && p.PPID == v.Process.PID && !slices.ContainsFunc(not, isOld)
	})
	return p
}

// A status is what supervise/status has, which a supervisor writes last.
type status struct {
	phase string // down, run or finish
	pid   int
}

// readStatus reads it in the form of runsv, or of s6-supervise before 2.13 or after.
func readStatus(dir string) (s status, err error) {
	text, err := os.ReadFile(dir + "/supervise/status")
	switch len(text) {
	case 20:
		return status{[]string{"down", "run", "finish"}[text[19]], int(binary.LittleEndian.Uint32(text[12:]))}, nil
	case 35, 43:
		s.phase, s.pid = "run", int(binary.BigEndian.Uint64(text[24:]))
		if s.pid == 0 {
			s.phase = "down"
		} else if text[len(text)-1]&2 != 0 {
			s.phase = "finish"
		}
		return s, nil
	}
	return s, errors.Join(err, errors.New("supervise/status is not written yet"))
}

// ServiceDir copies one of the repository's service directories into the world, as a user does: cp -a.
func (w *World) ServiceDir(from, name string) string {
	w.Helper()
	to := w.Path(name)
	if out, err := exec.Command("cp", "-a", repo+"/"+from, to).CombinedOutput(); err != nil {
		w.Fatalf("cp: %s", out)
	}
	w.LogsTo(to)
	return to
}

// LogsTo has a copy of a shipped service log into its own folder instead of /var/log, where tests would meet.
func (w *World) LogsTo(dir string) {
	w.Helper()
	text, err := os.ReadFile(dir + "/log/run")
	if os.IsNotExist(err) {
		return
	}
	changed := strings.Replace(string(text), "log=/var/log/${service##*/}", "log=./main", 1)
	if err != nil || changed == string(text) {
		w.Fatalf("%s/log/run: %v: %s", dir, err, text)
	}
	w.Check(os.WriteFile(dir+"/log/run", []byte(changed), 0o755))
}

// Conf sets variables of a service directory: files in its conf/, which chpst -e reads.
func (w *World) Conf(dir string, settings map[string]string) {
	w.Helper()
	w.Check(os.MkdirAll(dir+"/conf", 0o755))
	for name, value := range settings {
		w.Check(os.WriteFile(dir+"/conf/"+name, []byte(value+"\n"), 0o644))
	}
}
