package harness

import (
	"os"

	"golang.org/x/sys/unix"
)

// A Runsv is a real runsv over one service directory.
type Runsv struct{ supervisor }

// Runsv starts runsv over a service directory. It exits at the end of the test, as by sv exit.
func (w *World) Runsv(dir string, env ...string) *Runsv {
	w.Helper()
	v := &Runsv{w.supervise("runsv", dir, env)}
	w.Cleanup(v.Exit)
	v.awaitReader("supervise/ok")
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

// Exit has it exit.
func (v *Runsv) Exit() { v.exit(func() { v.Control("cx") }, func() { v.Control("k") }) }

// Stat is what runsv writes about itself: run, down, finish, with ", paused" and so on.
func (v *Runsv) Stat() string { return FirstLine(v.Dir + "/supervise/stat") }
