// Package s6rc checks service definitions against the source format of s6-rc, as s6-rc-compile reads it. It knows the
// format and s6-overlay's own services, and compiles nothing.
package s6rc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// own are the names that s6-overlay brings itself.
var own = []string{"base", "user", "user2", "top", "legacy-cont-init", "legacy-services", "fix-attrs", "legacy-user"}

// files are all that a definition of a type may have, and how each is judged.
var files = map[string]map[string]func(path string) error{
	"longrun": {"type": isFile, "run": isScript, "finish": isScript, "notification-fd": isNumber, "lock-fd": isNumber,
		"timeout-kill": isNumber, "timeout-finish": isNumber, "max-death-tally": isNumber, "timeout-up": isNumber,
		"timeout-down": isNumber, "down-signal": isSignal, "flag-essential": isFile, "dependencies.d": isDirectory,
		"producer-for": isFile, "consumer-for": isFile, "pipeline-name": isFile, "data": isDirectory, "env": isDirectory},
	"oneshot": {"type": isFile, "up": isFile, "down": isFile, "timeout-up": isNumber, "timeout-down": isNumber,
		"flag-essential": isFile, "dependencies.d": isDirectory},
	"bundle": {"type": isFile, "contents.d": isDirectory},
}

// required are those without which there is no such definition.
var required = map[string][]string{"longrun": {"run"}, "oneshot": {"up"}, "bundle": {"contents.d"}}

// Check judges the definitions in a directory (s6-rc.d), and the bundles in another (user-bundles.d), to which
// s6-overlay itself gives the type of user and user2. It returns all that is wrong.
func Check(definitions, bundles string) (faults []error) {
	c := checker{names: slices.Clone(own), longruns: map[string]string{}}
	c.read(definitions)
	for _, d := range c.all {
		c.definition(d)
	}
	for _, path := range c.list(bundles) {
		if name := filepath.Base(path); name != "user" && name != "user2" {
			c.fault(path, "not one of s6-overlay's bundles (user, user2)")
		}
		for _, part := range c.list(path) {
			if filepath.Base(part) != "contents.d" {
				c.fault(part, "only contents.d is ours: s6-overlay has the type")
			}
		}
		c.references(filepath.Join(path, "contents.d"))
	}
	return c.faults
}

type checker struct {
	names    []string
	all      []string          // directories of definitions
	longruns map[string]string // name: directory
	faults   []error
}

func (c *checker) fault(path, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

func (c *checker) list(dir string) (paths []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.faults = append(c.faults, err)
	}
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths
}

func (c *checker) read(definitions string) {
	for _, path := range c.list(definitions) {
		name := filepath.Base(path)
		switch {
		case slices.Contains(own, name):
			c.fault(path, "s6-overlay's own: who writes there hides what the image has")
		case strings.HasPrefix(name, "s6rc-") || strings.HasPrefix(name, "s6-rc-") || strings.ContainsAny(name, " \t\n"):
			c.fault(path, "no name for a service")
		}
		c.names = append(c.names, name)
		c.all = append(c.all, path)
		if word(filepath.Join(path, "type")) == "longrun" {
			c.longruns[name] = path
		}
	}
}

func (c *checker) definition(path string) {
	kind := word(filepath.Join(path, "type"))
	known, ok := files[kind]
	if !ok {
		c.fault(path, "type is %q (longrun, oneshot, bundle)", kind)
		return
	}
	for _, name := range required[kind] {
		if _, err := os.Stat(filepath.Join(path, name)); err != nil {
			c.fault(path, "a %s without %s", kind, name)
		}
	}
	for _, part := range c.list(path) {
		judge, ok := known[filepath.Base(part)]
		if !ok {
			c.fault(part, "s6-rc-compile knows no such file of a %s", kind)
		} else if err := judge(part); err != nil {
			c.fault(part, "%v", err)
		}
		switch name := filepath.Base(part); name {
		case "dependencies.d", "contents.d":
			c.references(part)
		case "producer-for", "consumer-for":
			c.pipeline(path, name)
		}
	}
}

// references are empty files with the names of others.
func (c *checker) references(dir string) {
	self := filepath.Base(filepath.Dir(dir))
	for _, path := range c.list(dir) {
		info, err := os.Lstat(path)
		name := filepath.Base(path)
		switch {
		case err != nil || !info.Mode().IsRegular() || info.Size() != 0:
			c.fault(path, "no empty file")
		case !slices.Contains(c.names, name):
			c.fault(path, "there is no service %q", name)
		case name == self:
			c.fault(path, "it refers to itself")
		}
	}
}

// pipeline: both ends name each other.
func (c *checker) pipeline(path, file string) {
	back := map[string]string{"producer-for": "consumer-for", "consumer-for": "producer-for"}[file]
	for _, other := range words(filepath.Join(path, file)) {
		dir, ok := c.longruns[other]
		if !ok {
			c.fault(path, "%s: there is no longrun %q", file, other)
		} else if !slices.Contains(words(filepath.Join(dir, back)), filepath.Base(path)) {
			c.fault(path, "%s: %s has no %s for it", file, other, back)
		}
	}
	if _, err := os.Stat(filepath.Join(path, "pipeline-name")); err == nil && file == "producer-for" {
		c.fault(path, "pipeline-name is for the last consumer")
	}
}

func words(path string) []string {
	text, _ := os.ReadFile(path)
	return strings.Fields(string(text))
}

// word is what a file of one line has, and empty if that is not all.
func word(path string) string {
	text, _ := os.ReadFile(path)
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if len(rest) > 0 {
		return ""
	}
	return string(line)
}

func isFile(path string) error {
	info, err := os.Lstat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o002 != 0) { // for the group the umask of a clone decides
		err = fmt.Errorf("mode %v, want a regular file that not everybody can write", info.Mode())
	}
	return err
}

func isDirectory(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("mode %v, want a directory", info.Mode())
	}
	return err
}

func isNumber(path string) error {
	text := word(path)
	if n, err := strconv.ParseUint(text, 10, 32); err != nil || strconv.FormatUint(n, 10) != text {
		return fmt.Errorf("%q, want a number", text)
	}
	return isFile(path)
}

func isSignal(path string) error {
	name := strings.TrimPrefix(word(path), "SIG")
	for sig := syscall.Signal(1); sig < 32; sig++ {
		if name == strconv.Itoa(int(sig)) {
			return isFile(path)
		}
	}
	if !slices.Contains([]string{"HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "KILL"}, name) {
		return fmt.Errorf("%q, want a signal", name)
	}
	return isFile(path)
}

// isScript: the kernel can run it, and shellcheck knows its shell.
func isScript(path string) error {
	if err := isFile(path); err != nil {
		return err
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&0o100 == 0 {
		return fmt.Errorf("mode %v, want an executable file", info.Mode())
	}
	text, err := os.ReadFile(path)
	lines := strings.Split(string(text), "\n")
	switch {
	case err != nil:
		return err
	case lines[0] == "#!/command/with-contenv sh" && (len(lines) < 2 || lines[1] != "# shellcheck shell=sh"):
		return fmt.Errorf("its second line is not %q", "# shellcheck shell=sh")
	case lines[0] != "#!/command/with-contenv sh" && lines[0] != "#!/bin/sh":
		return fmt.Errorf("its first line is %q, want sh, by with-contenv if it needs the container's environment", lines[0])
	}
	return nil
}
