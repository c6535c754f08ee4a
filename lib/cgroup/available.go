// Package cgroup knows how much memory there is for a process: the limits of its
// cgroups, v1 and v2, and of the machine.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Available is the memory, in KB, that is there for the process: the lowest
// limit of its cgroups and of their parents (memory.max of v2,
// memory.limit_in_bytes of v1), or the machine's memory (MemTotal of
// /proc/meminfo) where that is less.
func Available(pid int) (int64, error) {
	return system{proc: "/proc"}.available(strconv.Itoa(pid))
}

// system is where the files of the kernel are; tests have their own.
type system struct {
	proc string // the proc file system
	root string // what mount points are relative to
}

func (sys system) available(pid string) (int64, error) {
	lowest, err := sys.memTotal()
	if err != nil {
		return 0, err
	}
	groups, err := os.ReadFile(path.Join(sys.proc, pid, "cgroup"))
	if errors.Is(err, fs.ErrNotExist) { // a kernel without cgroups
		return lowest, nil
	}
	if err != nil {
		return 0, err
	}
	mounts, err := os.ReadFile(path.Join(sys.proc, "self/mountinfo"))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(groups) {
		hierarchy, ok := parseCgroup(strings.TrimRight(string(line), "\n"))
		if !ok {
			continue
		}
		for m := range bytes.Lines(mounts) {
			at, ok := parseMount(strings.TrimRight(string(m), "\n"), hierarchy)
			if ok {
				lowest = min(lowest, sys.lowestLimit(at.point, at.below(hierarchy.group), hierarchy.file))
				break
			}
		}
	}
	return lowest, nil
}

func (sys system) memTotal() (int64, error) {
	name := path.Join(sys.proc, "meminfo")
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("MemTotal:")); ok {
			kb, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
			return strconv.ParseInt(kb, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no MemTotal in it", name)
}

// cgroup is a line of /proc/PID/cgroup whose hierarchy limits memory (cgroups(7)).
type cgroup struct {
	group  string // the path within the hierarchy
	fsType string // of its mount
	file   string // that has the limit, in bytes
}

// parseCgroup reads HIERARCHY:CONTROLLERS:PATH; v2 has 0 and no controllers.
func parseCgroup(line string) (cgroup, bool) {
	number, rest, _ := strings.Cut(line, ":")
	controllers, group, ok := strings.Cut(rest, ":")
	switch {
	case !ok:
		return cgroup{}, false
	case number == "0" && controllers == "":
		return cgroup{group, "cgroup2", "memory.max"}, true
	case hasWord(controllers, "memory"):
		return cgroup{group, "cgroup", "memory.limit_in_bytes"}, true
	}
	return cgroup{}, false
}

// mount is where a hierarchy, or a part of it, is mounted.
type mount struct{ root, point string }

// parseMount reads a line of /proc/self/mountinfo (proc_pid_mountinfo(5)); ok
// if it is a mount of that hierarchy.
func parseMount(line string, of cgroup) (m mount, ok bool) {
	before, after, _ := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if len(fields) < 5 || len(kind) < 3 || kind[0] != of.fsType {
		return mount{}, false
	}
	if of.fsType == "cgroup" && !hasWord(kind[2], "memory") {
		return mount{}, false
	}
	return mount{root: fields[3], point: fields[4]}, true
}

// below is the group's path under the mount point. A group outside of what is
// mounted (a container's own cgroup namespace) is taken for the mounted one.
func (m mount) below(group string) string {
	rest, ok := strings.CutPrefix(group, strings.TrimSuffix(m.root, "/"))
	if !ok || rest != "" && rest[0] != '/' || strings.HasPrefix(rest, "/..") {
		return "/"
	}
	return path.Clean("/" + rest)
}

// lowestLimit is the lowest limit, in KB, from the group up to the mount point.
// A file that isn't there or says "max" is no limit.
func (sys system) lowestLimit(point, group, file string) int64 {
	lowest := int64(1) << 62
	for {
		text, err := os.ReadFile(path.Join(sys.root, point, group, file))
		if err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				lowest = min(lowest, n/1024)
			}
		}
		if group == "/" {
			return lowest
		}
		group = path.Dir(group)
	}
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}
