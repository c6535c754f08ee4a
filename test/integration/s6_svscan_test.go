package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An svscan is a real s6-svscan. Its output is that of all services without a log of their own, as a container's is.
type svscan struct {
	*child
	s   *sandbox
	dir string // its scan directory
	out string
}

// svscan starts a command that becomes s6-svscan over service directories, which are links in its scan directory, as in s6-overlay. At the end
// of the test all that it runs is told to end, and it exits.
func (s *sandbox) svscan(command []string, dirs ...string) *svscan {
	s.Helper()
	v := &svscan{s: s, dir: s.path("service"), out: s.path("s6-svscan.log")}
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		s.Fatal(err)
	}
	for _, dir := range dirs {
		if err := os.Symlink(dir, filepath.Join(v.dir, filepath.Base(dir))); err != nil {
			s.Fatal(err)
		}
	}
	c := s.command(command[0], append(command[1:], v.dir)...)
	c.Stdout, c.Stderr = s.log("s6-svscan.log")
	v.child = s.start(c)
	s.Cleanup(func() {
		if v.alive() {
			s.wants(0, "s6-svscanctl", "-t", v.dir)
			<-v.gone
		}
	})
	return v
}

// service waits for one of its services to be supervised.
func (v *svscan) service(name string) *s6 {
	v.s.Helper()
	sv := &s6{s: v.s, dir: filepath.Join(v.dir, name)}
	v.s.waitFor("s6-supervise "+name+" is there", func() bool {
		for _, p := range processes() {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
			if p.ppid == v.pid && string(cmdline) == "s6-supervise\x00"+name+"\x00" {
				sv.child = &child{process: p}
				return sv.supervised()
			}
		}
		return false
	})
	return sv
}

// waits is s6-svwait: until an event that must come.
func (v *s6) waits(event string) {
	v.s.Helper()
	v.s.wants(0, "s6-svwait", event, "-t", fmt.Sprint(patience.Milliseconds()), v.dir)
}

// says waits until a line of the output has all these words, and returns it.
func (v *svscan) says(words ...string) (line string) {
	v.s.Helper()
	v.s.waitFor(fmt.Sprintf("a line with %q", words), func() bool {
		lines := v.lines(words...)
		if len(lines) > 0 {
			line = lines[0]
		}
		return len(lines) > 0
	})
	return line
}

// lines are those of the output that have all these words.
func (v *svscan) lines(words ...string) (found []string) {
	text, _ := os.ReadFile(v.out)
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

// A container stands in for one of s6-overlay's: its environment, and with-contenv in the first line of the run scripts.
// All else in them is as it is shipped.
type container struct{ *sandbox }

func inContainer(t *testing.T) (*sandbox, container) {
	t.Parallel()
	s := newSandbox(t)
	s.need("s6-svscan")
	s.make("environment")
	// As the real one is seen to work: PATH stays, all else is what is in the files at that moment.
	s.script("with-contenv", fmt.Sprintf(`exec env -i PATH="$PATH" %s %s="$%[2]s" s6-envdir -Lf '%[3]s' "$@"
`, s.mark, runVariable, s.path("environment")))
	return s, container{s}
}

// sets puts variables into the container's environment, as docker run -e does.
func (k container) sets(settings map[string]string) {
	k.Helper()
	for name, value := range settings {
		file := k.write("environment.new", value, 0o644)
		if err := os.Rename(file, k.path("environment", name)); err != nil { // it is read at any time
			k.Fatal(err)
		}
	}
}

// service copies a service directory, and changes the first lines of its scripts alone.
func (k container) service(from, to string) string {
	k.Helper()
	k.make(filepath.Dir(to))
	dir := k.serviceDir(from, to)
	k.interprets(dir)
	return dir
}

// interprets changes the first lines of the scripts in a folder.
func (k container) interprets(folder string) {
	k.Helper()
	k.must("find", folder, "-type", "f", "-exec", "sed", "-i", "1s|^#!/command/with-contenv |#!"+k.path("with-contenv")+" |", "{}", "+")
}

// repo is the root of the source tree, wherever one is.
func (s *sandbox) repo() string {
	s.Helper()
	dir, err := filepath.Abs(repo)
	if err != nil {
		s.Fatal(err)
	}
	return dir
}

// overlay copies a service of s6-overlay's; s6-rc has them in servicedirs.
func (k container) overlay(name string) string {
	k.Helper()
	return k.service("s6/s6-overlay/etc/s6-overlay/s6-rc.d/"+name, "servicedirs/"+name)
}

// program is what stands in for Sidekiq.
func (k container) program(text string) string {
	k.Helper()
	return k.script("program", text)
}

// starts starts its services.
func (k container) starts(dirs ...string) *svscan {
	k.Helper()
	return k.svscan([]string{"s6-svscan"}, dirs...)
}
