package harness

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Service is one under a real supervisor.
type Service interface {
	// Running waits for a process other than the given ones, and returns it.
	Running(not ...Process) Process
	Supervisor() Process
	Up()
	Down()
	// InFinish waits until ./finish runs, and returns its process.
	InFinish() Process
}

// Services runs a test with each supervisor, over a service directory that the test makes: svc.
func Services(t *testing.T, test func(w *World, dir string, start func() Service)) {
	t.Run("runsv", func(t *testing.T) {
		t.Parallel()
		w := New(t)
		test(w, w.Path("svc"), func() Service { return w.Runsv(w.Path("svc")) })
	})
	t.Run("s6-supervise", func(t *testing.T) {
		t.Parallel()
		w := New(t)
		test(w, w.Path("svc"), func() Service { return w.S6(w.Path("svc")) })
	})
}

// isRead tells whether somebody reads a FIFO, as a supervisor does with the one that it has for this question.
func isRead(fifo string) bool {
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// isAnother tells whether a child of the supervisor lives, and is none of these.
func isAnother(p Process, supervisor Process, not []Process) bool {
	return p.PPID == supervisor.PID && p.Alive() && !slices.ContainsFunc(not, func(old Process) bool { return old.ID() == p.ID() })
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
