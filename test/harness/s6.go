package harness

import (
	"fmt"
	"path/filepath"
	"strings"
)

// An S6 is a real s6-supervise over one service directory.
type S6 struct{ supervisor }

// S6 starts s6-supervise over a service directory. It exits at the end of the test, and its service with it.
func (w *World) S6(dir string, env ...string) *S6 {
	w.Helper()
	v := &S6{w.supervise("s6-supervise", dir, env)}
	w.Cleanup(func() { v.exit(func() { v.Control("-xd") }, func() { v.Control("-kxd") }) })
	v.awaitReader("supervise/control")
	return v
}

// Control is s6-svc's: -u, -d, -o, -t, -k...
func (v *S6) Control(options ...string) {
	v.w.Helper()
	if r := v.w.Run("s6-svc", append(options, v.Dir)...); r.Code != 0 && v.Alive() {
		v.w.Errorf("s6-svc %v %s: exit %d: %s", options, v.Dir, r.Code, r.Stderr)
	}
}

// Stat is s6's own view: "true 123" (up, pid), "false -1".
func (v *S6) Stat(fields string) []string {
	v.w.Helper()
	return strings.Fields(v.w.Run("s6-svstat", "-o", fields, v.Dir).Stdout)
}

// Await waits for an event by s6-svwait: -u, -d, -U...
func (v *S6) Await(event string) {
	v.w.Helper()
	v.w.Wants(0, "s6-svwait", event, "-t", fmt.Sprint(Patience.Milliseconds()), v.Dir)
}

// A Svscan is a real s6-svscan. Its log is that of all services without one of their own, as a container's is.
type Svscan struct {
	*Child
	*Log
	w   *World
	Dir string // its scan directory
}

// Svscan starts a command that becomes s6-svscan over service directories, which are links in its scan directory, as in
// s6-overlay. At the end of the test it ends all that it runs, and exits.
func (w *World) Svscan(command []string, dirs ...string) *Svscan {
	w.Helper()
	v := &Svscan{w: w, Dir: w.Path("service")}
	w.Mkdir("service")
	for _, dir := range dirs {
		w.Link(dir, "service/"+filepath.Base(dir))
	}
	c := w.Command(command[0], append(command[1:], v.Dir)...)
	c.Stdout, c.Stderr = w.Output("s6-svscan.log")
	v.Child, v.Log = w.Start(c), w.Follow(w.Path("s6-svscan.log"))
	w.Cleanup(func() {
		if v.Alive() {
			w.Wants(0, "s6-svscanctl", "-t", v.Dir)
			<-v.Done
		}
	})
	return v
}

// Service waits until one of its services is supervised.
func (v *Svscan) Service(name string) *S6 {
	v.w.Helper()
	sv := &S6{supervisor{w: v.w, Dir: filepath.Join(v.Dir, name)}}
	v.w.Eventually("s6-supervise "+name+" is there", func() bool {
		for _, p := range Processes() {
			if p.PPID == v.Child.PID && p.Title() == "s6-supervise\x00"+name {
				sv.Child = &Child{Process: p}
				return true
			}
		}
		return false
	})
	sv.awaitReader("supervise/control")
	return sv
}
