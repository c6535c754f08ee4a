package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An S6 is a real s6-supervise over one service directory.
type S6 struct {
	*Child
	w   *World
	Dir string
}

// S6 starts s6-supervise over a service directory. At the end of the test it is told to exit.
func (w *World) S6(dir string, env ...string) *S6 {
	w.Helper()
	c := w.Command("s6-supervise", dir)
	c.Env = append(c.Env, env...)
	c.Stdout, c.Stderr = w.Output(filepath.Base(dir) + ".s6-supervise.log")
	v := &S6{w.Start(c), w, dir}
	w.Cleanup(v.exit)
	w.Eventually("s6-supervise is there", v.isSupervised)
	return v
}

func (v *S6) isSupervised() bool { return isRead(v.Dir + "/supervise/control") }

// Control is s6-svc's: -u, -d, -o, -t, -k...
func (v *S6) Control(options ...string) {
	v.w.Helper()
	v.w.Wants(0, "s6-svc", append(options, v.Dir)...)
}

func (v *S6) exit() {
	if !v.Alive() {
		return
	}
	v.Control("-xd")
	if Happens(v.Done, Patience/6) {
		return
	}
	v.Control("-kxd") // what ignores TERM
	if !Happens(v.Done, Patience) {
		v.w.Errorf("s6-supervise %s did not exit", v.Dir)
	}
}

// Stat is s6's own view: "true 123" (up, pid), "false -1".
func (v *S6) Stat(fields string) []string {
	v.w.Helper()
	return strings.Fields(v.w.Run("s6-svstat", "-o", fields, v.Dir).Stdout)
}

// Waits is s6-svwait: until an event that must come.
func (v *S6) Waits(event string) {
	v.w.Helper()
	v.w.Wants(0, "s6-svwait", event, "-t", fmt.Sprint(Patience.Milliseconds()), v.Dir)
}

func (v *S6) Running(not ...Process) (p Process) {
	v.w.Helper()
	v.w.Eventually(v.Dir+" runs", func() bool {
		stat := v.Stat("up,pid")
		if len(stat) != 2 || stat[0] != "true" {
			return false
		}
		pid, _ := strconv.Atoi(stat[1])
		p, _ = Look(pid)
		return isAnother(p, v.Process, not)
	})
	return p
}

func (v *S6) Supervisor() Process { return v.Process }
func (v *S6) Up()                 { v.Control("-u") }
func (v *S6) Down()               { v.Control("-d") }

// InFinish finds ./finish among s6-supervise's children: s6-svstat prints no pid for it.
func (v *S6) InFinish() (finish Process) {
	v.w.Helper()
	v.w.Eventually(v.Dir+" is in finish", func() bool {
		for _, p := range Processes() {
			if p.PPID == v.Process.PID && strings.Contains(p.Title(), "finish") {
				finish = p
				return true
			}
		}
		return false
	})
	return finish
}

// A Svscan is a real s6-svscan. Its output is that of all services without a log of their own, as a container's is.
type Svscan struct {
	*Child
	w   *World
	Dir string // its scan directory
	Out string
}

// Svscan starts a command that becomes s6-svscan over service directories, which are links in its scan directory, as in
// s6-overlay. At the end of the test all that it runs is told to end, and it exits.
func (w *World) Svscan(command []string, dirs ...string) *Svscan {
	w.Helper()
	v := &Svscan{w: w, Dir: w.Path("service"), Out: w.Path("s6-svscan.log")}
	w.Mkdir("service")
	for _, dir := range dirs {
		w.Link(dir, "service/"+filepath.Base(dir))
	}
	c := w.Command(command[0], append(command[1:], v.Dir)...)
	c.Stdout, c.Stderr = w.Output("s6-svscan.log")
	v.Child = w.Start(c)
	w.Cleanup(func() {
		if v.Alive() {
			w.Wants(0, "s6-svscanctl", "-t", v.Dir)
			<-v.Done
		}
	})
	return v
}

// Service waits for one of its services to be supervised.
func (v *Svscan) Service(name string) *S6 {
	v.w.Helper()
	sv := &S6{w: v.w, Dir: filepath.Join(v.Dir, name)}
	v.w.Eventually("s6-supervise "+name+" is there", func() bool {
		for _, p := range Processes() {
			if p.PPID == v.PID && p.Title() == "s6-supervise\x00"+name {
				sv.Child = &Child{Process: p}
				return sv.isSupervised()
			}
		}
		return false
	})
	return sv
}

// Says waits until a line of the output has all these words, and returns it.
func (v *Svscan) Says(words ...string) (line string) {
	v.w.Helper()
	v.w.Eventually(fmt.Sprintf("a line with %q", words), func() bool {
		lines := v.Lines(words...)
		if len(lines) > 0 {
			line = lines[0]
		}
		return len(lines) > 0
	})
	return line
}

// Lines are those of the output that have all these words.
func (v *Svscan) Lines(words ...string) (found []string) {
	text, _ := os.ReadFile(v.Out)
next:
	for line := range strings.Lines(string(text)) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}
