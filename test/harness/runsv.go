package harness

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Runsv is a real runsv over one service directory.
type Runsv struct {
	*Child
	w   *World
	Dir string
}

// Runsv starts runsv over a service directory. At the end of the test it is told to exit, as sv exit does.
func (w *World) Runsv(dir string, env ...string) *Runsv {
	w.Helper()
	c := w.Command("runsv", dir)
	c.Env = append(c.Env, env...)
	c.Stdout, c.Stderr = w.Output(filepath.Base(dir) + ".runsv.log")
	v := &Runsv{w.Start(c), w, dir}
	w.Cleanup(v.Exit)
	w.Eventually("runsv is there", func() bool { return isRead(dir + "/supervise/ok") })
	return v
}

// Control writes runsv's own control bytes: u up, d down, p pause, c continue, t term, k kill, x exit.
func (v *Runsv) Control(bytes string) {
	v.w.Helper()
	f, err := os.OpenFile(v.Dir+"/supervise/control", os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		_, err = f.WriteString(bytes)
		f.Close()
	}
	if err != nil && v.Alive() {
		v.w.Error(err)
	}
}

// Exit tells it to exit until it does, for Ruby 3.1 loses a TERM that comes in its first milliseconds; what ignores TERM is
// killed.
func (v *Runsv) Exit() {
	for n := 0; v.Alive(); n++ {
		v.Control("cx")
		select {
		case <-v.Done:
			return
		case <-time.After(5 * time.Second):
			v.w.Logf("runsv %s does not exit: %s", v.Dir, v.Stat())
		}
		switch {
		case n == 1: // ten seconds
			v.Control("k")
		case n > 5:
			v.w.Errorf("runsv %s did not exit: %s", v.Dir, v.Stat())
			v.Kill()
			return
		}
	}
}

// Stat is what runsv says of itself: run, down, finish, with ", paused" and so on.
func (v *Runsv) Stat() string { return FirstLine(v.Dir + "/supervise/stat") }

// MainPID is that of ./run or of ./finish, 0 when down.
func (v *Runsv) MainPID() int {
	pid, _ := strconv.Atoi(FirstLine(v.Dir + "/supervise/pid"))
	return pid
}

// isNoted tells whether supervise/status has a pid, too: runsv writes it last, and our programs read it alone.
func (v *Runsv) isNoted(pid int) bool {
	text, err := os.ReadFile(v.Dir + "/supervise/status")
	return err == nil && len(text) == 20 && binary.LittleEndian.Uint32(text[12:]) == uint32(pid)
}

func (v *Runsv) Running(not ...Process) (p Process) {
	v.w.Helper()
	v.w.Eventually(v.Dir+" runs", func() bool {
		p, _ = Look(v.MainPID())
		return strings.HasPrefix(v.Stat(), "run") && v.isNoted(p.PID) && isAnother(p, v.Process, not)
	})
	return p
}

func (v *Runsv) Supervisor() Process { return v.Process }
func (v *Runsv) Up()                 { v.Control("u") }
func (v *Runsv) Down()               { v.Control("d") }

func (v *Runsv) InFinish() (p Process) {
	v.w.Helper()
	// Its stat says finish a moment before ./finish has been started.
	v.w.Eventually(v.Dir+" is in finish", func() (alive bool) {
		p, alive = Look(v.MainPID())
		return alive && strings.HasPrefix(v.Stat(), "finish") && strings.Contains(p.Title(), "finish")
	})
	return p
}

// Logger is the process of log/run.
func (v *Runsv) Logger() (p Process) {
	v.w.Helper()
	v.w.Eventually(v.Dir+"/log runs", func() (alive bool) {
		pid, _ := strconv.Atoi(FirstLine(v.Dir + "/log/supervise/pid"))
		p, alive = Look(pid)
		return alive
	})
	return p
}
