package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// Available is the memory, in KB, that is there for the process: the lowest
// limit of its cgroups and of their parents (memory.max of v2,
// memory.limit_in_bytes of v1), or the machine's memory (MemTotal of
// /proc/meminfo) where that is less.
func Available(pid int) (int64, error) { return kernel.available(pid) }

// WorkingSet is the memory, in KB, that the cgroup of the process uses, all its
// processes and what the kernel holds for them together, less the page cache
// that the kernel would give back first: memory.current less inactive_file (v2),
// memory.usage_in_bytes less total_inactive_file (v1). It is what Kubernetes
// compares with a limit.
func WorkingSet(pid int) (int64, error) { return kernel.workingSet(pid) }

// Path is the folder of the cgroup that WorkingSet measures. Two processes that
// have the same one are in one cgroup.
func Path(pid int) (string, error) {
	g, err := kernel.measured(pid)
	return g.path(), err
}

func (sys system) available(pid int) (int64, error) {
	lowest, err := readLine(path.Join(sys.proc, "meminfo"), "MemTotal:")
	if err != nil {
		return 0, err
	}
	groups, err := sys.folders(pid, "memory")
	if errors.Is(err, fs.ErrNotExist) { // a kernel without cgroups
		return lowest, nil
	}
	if err != nil {
		return 0, err
	}
	for _, g := range groups {
		g.upwards(func(dir string) {
			// A limit that is not there, or is "max", is none.
			if limit, err := readBytes(path.Join(dir, g.limitFile())); err == nil {
				lowest = min(lowest, limit/1024)
			}
		})
	}
	return lowest, nil
}

func (sys system) workingSet(pid int) (int64, error) {
	g, err := sys.measured(pid)
	if err != nil {
		return 0, err
	}
	inUse, err := readBytes(path.Join(g.path(), g.useFile()))
	if err != nil {
		return 0, err
	}
	inactive := "inactive_file"
	if !g.isV2() {
		inactive = "total_inactive_file" // with that of the groups below it, as the use is
	}
	cache, err := readLine(path.Join(g.path(), "memory.stat"), inactive)
	if err != nil {
		return 0, err
	}
	return max(0, inUse-cache) / 1024, nil
}

// measured is the cgroup of the process that tells how much memory it uses.
func (sys system) measured(pid int) (folder, error) {
	groups, err := sys.folders(pid, "memory")
	if err != nil {
		return folder{}, fmt.Errorf("cannot find the cgroup of process %d: %w", pid, err)
	}
	for _, g := range groups {
		if _, err := os.Stat(path.Join(g.path(), g.useFile())); err == nil {
			return g, nil
		}
	}
	return folder{}, fmt.Errorf("cannot measure the cgroup of process %d: "+
		"no memory.current (v2) or memory.usage_in_bytes (v1) for it", pid)
}

func (f folder) limitFile() string {
	if f.isV2() {
		return "memory.max"
	}
	return "memory.limit_in_bytes"
}

func (f folder) useFile() string {
	if f.isV2() {
		return "memory.current"
	}
	return "memory.usage_in_bytes"
}
