// Package cgroup knows what the cgroups of a process say of it, v1 and v2: how
// much memory there is, how much is used, and whether it is frozen.
package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// system is where the files of the kernel are; tests have their own.
type system struct {
	proc string // the proc file system
	root string // what mount points are relative to
}

var kernel = system{proc: "/proc"}

// membership is a line of /proc/PID/cgroup (cgroups(7)): a hierarchy in which a
// controller can be, and the group of the process there.
type membership struct {
	group      string // the path within the hierarchy
	controller string // of v1; "" for v2, which has all controllers
}

func (m membership) isV2() bool { return m.controller == "" }

// folder is the group of a process as a folder below a mount point.
type folder struct {
	membership
	point string // where the hierarchy, or a part of it, is mounted
	below string // the path of the group from there
}

func (f folder) path() string { return path.Join(f.point, f.below) }

// folders are those in which the files of a controller can be for the process,
// those of v1 first: where both versions are mounted, a controller of v1 is not
// in v2.
func (sys system) folders(pid int, controller string) (found []folder, err error) {
	groups, err := os.ReadFile(path.Join(sys.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile(path.Join(sys.proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(groups) {
		m, ok := parseMembership(strings.TrimSuffix(string(line), "\n"), controller)
		if !ok {
			continue
		}
		for line := range bytes.Lines(mounts) {
			f, ok := m.under(strings.TrimSuffix(string(line), "\n"))
			if !ok {
				continue
			}
			f.point = path.Join(sys.root, f.point)
			if m.isV2() {
				found = append(found, f)
			} else {
				found = append([]folder{f}, found...)
			}
			break
		}
	}
	return found, nil
}

// parseMembership reads HIERARCHY:CONTROLLERS:PATH; v2 has 0 and no controllers.
func parseMembership(line, controller string) (membership, bool) {
	number, rest, _ := strings.Cut(line, ":")
	controllers, group, ok := strings.Cut(rest, ":")
	switch {
	case !ok:
		return membership{}, false
	case number == "0" && controllers == "":
		return membership{group: group}, true
	case hasWord(controllers, controller):
		return membership{group, controller}, true
	}
	return membership{}, false
}

// under reads a line of /proc/self/mountinfo (proc_pid_mountinfo(5)); ok if it is
// a mount of the hierarchy.
func (m membership) under(line string) (f folder, ok bool) {
	before, after, _ := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if len(fields) < 5 || len(kind) < 3 {
		return folder{}, false
	}
	fsType, options := kind[0], kind[2]
	if m.isV2() && fsType != "cgroup2" || !m.isV2() && (fsType != "cgroup" || !hasWord(options, m.controller)) {
		return folder{}, false
	}
	root, point := fields[3], fields[4]
	return folder{m, point, below(root, m.group)}, true
}

// below is the path of a group under the mount point of a part of its hierarchy.
// A group outside of what is mounted (a container's own cgroup namespace) is
// taken for the mounted one.
func below(root, group string) string {
	rest, ok := strings.CutPrefix(group, strings.TrimSuffix(root, "/"))
	if !ok || rest != "" && rest[0] != '/' || strings.HasPrefix(rest, "/..") {
		return "/"
	}
	return path.Clean("/" + rest)
}

// upwards calls do with the folder and those above it, up to the mount point.
func (f folder) upwards(do func(path string)) {
	for group := f.below; ; group = path.Dir(group) {
		do(path.Join(f.point, group))
		if group == "/" {
			return
		}
	}
}

func hasWord(list, word string) bool { return slices.Contains(strings.Split(list, ","), word) }

// readBytes reads a file that holds one number of bytes.
func readBytes(name string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// readLine reads the number behind a word at the start of a line, as in
// memory.stat and /proc/meminfo.
func readLine(name, word string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if rest, ok := strings.CutPrefix(string(line), word+" "); ok {
			number, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a unit may follow
			return strconv.ParseInt(number, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s in it", name, word)
}
