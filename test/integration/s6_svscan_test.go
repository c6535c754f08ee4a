package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// An svscan is a real s6-svscan. Its output is that of all services without a log of their own, as a container's is.
type svscan struct {
	*child
	s   *sandbox
	dir string // its scan directory
	out string
}

// svscan starts s6-svscan over service directories, which are links in its scan directory, as in s6-overlay. At the end
// of the test all that it runs is told to end, and it exits.
func (s *sandbox) svscan(env []string, dirs ...string) *svscan {
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
	c := s.command("s6-svscan", v.dir)
	c.Env = append(c.Env, env...)
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
type container struct {
	s     *sandbox
	shell string // the first line of all scripts, with-contenv's last word
	path  string // where what the scripts call is found
}

// shells are those that all scripts are for: with what Debian has in PATH, and with busybox's.
var shells = map[string]string{"dash": "/usr/bin/dash", "busybox ash": "/usr/bin/busybox ash"}

// container makes one whose scripts, and those that they call, are run by a shell.
func (s *sandbox) container(shell string) *container {
	s.Helper()
	k := &container{s, shells[shell], s.path("bin")}
	s.need(strings.Fields(shell)[0])
	recipes, err := filepath.Glob(repo + "/lib/recipes/*")
	if err != nil {
		s.Fatal(err)
	}
	for _, file := range recipes {
		text, err := os.ReadFile(file)
		if err != nil {
			s.Fatal(err)
		}
		if rest, script := strings.CutPrefix(string(text), "#!/bin/sh\n"); script {
			s.write("bin/"+filepath.Base(file), "#!"+k.shell+"\n"+rest, 0o755)
		}
	}
	if shell == "busybox ash" {
		for applet := range strings.FieldsSeq(s.wants(0, "busybox", "--list").stdout) {
			if err := os.Symlink("/usr/bin/busybox", s.path("bin", applet)); err != nil && !os.IsExist(err) {
				s.Fatal(err)
			}
		}
	}
	if err := os.MkdirAll(s.path("environment"), 0o755); err != nil {
		s.Fatal(err)
	}
	s.write("with-contenv", fmt.Sprintf(`#!/bin/sh
exec env -i PATH="$PATH" %s %s="$%[2]s" s6-envdir -Lf %[3]s "$@"
`, s.mark, runVariable, s.path("environment")), 0o755)
	return k
}

// sets puts variables into the container's environment, as docker run -e does.
func (k *container) sets(settings map[string]string) {
	k.s.Helper()
	for name, value := range settings {
		k.s.write("environment/"+name, value, 0o644)
	}
}

// service copies a service directory, and changes the first lines of its scripts alone.
func (k *container) service(from, to string) string {
	k.s.Helper()
	dir := k.s.path(to)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		k.s.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", repo+"/"+from, dir).CombinedOutput(); err != nil {
		k.s.Fatalf("cp: %s", out)
	}
	for _, script := range []string{"run", "finish", "log/run"} {
		text, err := os.ReadFile(filepath.Join(dir, script))
		if err != nil {
			continue
		}
		first, rest, _ := strings.Cut(string(text), "\n")
		switch first {
		case "#!/bin/sh":
			first = "#!" + k.shell
		case "#!/command/with-contenv sh":
			first = "#!" + k.s.path("with-contenv") + " sh" // sh is the first in PATH: see container
		default:
			k.s.Fatalf("%s/%s: %q", from, script, first)
		}
		k.s.write(to+"/"+script, first+"\n"+rest, 0o755)
	}
	return dir
}

// overlay copies a service of s6-overlay's; s6-rc has them in servicedirs.
func (k *container) overlay(name string) string {
	k.s.Helper()
	return k.service("s6/s6-overlay/etc/s6-overlay/s6-rc.d/"+name, "servicedirs/"+name)
}

// starts starts its services.
func (k *container) starts(dirs ...string) *svscan {
	k.s.Helper()
	if k.shell == shells["dash"] {
		os.Symlink("/usr/bin/dash", k.s.path("bin/sh"))
	}
	return k.s.svscan([]string{"PATH=" + k.path + ":" + os.Getenv("PATH")}, dirs...)
}
