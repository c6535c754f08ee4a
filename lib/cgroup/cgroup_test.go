package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// files makes a system out of file names and their text.
func files(t *testing.T, text map[string]string) system {
	root := t.TempDir()
	for name, text := range text {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return system{proc: filepath.Join(root, "proc"), root: root}
}

const (
	meminfo = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\n"
	v1mount = "35 34 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n36 34 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
	v2mount = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
)

func TestTheAvailableMemoryIsTheLowestLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		kb    int64
	}{
		"the machine's where there are no cgroups": {map[string]string{}, 16000000},
		"the group's own, v2": {map[string]string{
			"proc/7/cgroup":                "0::/a/b\n",
			"proc/self/mountinfo":          v2mount,
			"sys/fs/cgroup/a/b/memory.max": "1024000\n",
			"sys/fs/cgroup/a/memory.max":   "max\n",
		}, 1000},
		"a parent's, v2": {map[string]string{
			"proc/7/cgroup":                "0::/a/b\n",
			"proc/self/mountinfo":          v2mount,
			"sys/fs/cgroup/a/b/memory.max": "1024000\n",
			"sys/fs/cgroup/a/memory.max":   "512000\n",
		}, 500},
		"the machine's where the limit is above it, v1": {map[string]string{
			"proc/7/cgroup":       "4:memory:/a\n1:cpu:/\n",
			"proc/self/mountinfo": v1mount,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
		}, 16000000},
		"the group's own, v1": {map[string]string{
			"proc/7/cgroup":       "1:cpu:/\n4:memory:/a\n0::/\n",
			"proc/self/mountinfo": v1mount + v2mount,
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2048000\n",
		}, 2000},
		"that of the mounted part, in a container": {map[string]string{
			"proc/7/cgroup":                "0::/docker/abc/svc\n",
			"proc/self/mountinfo":          "30 25 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/memory.max":     "4096000\n",
			"sys/fs/cgroup/svc/memory.max": "3072000\n",
		}, 3000},
		"that of the mount where the group is outside of it": {map[string]string{
			"proc/7/cgroup":            "0::/../other\n",
			"proc/self/mountinfo":      v2mount,
			"sys/fs/cgroup/memory.max": "4096000\n",
			"sys/fs/other/memory.max":  "1024\n",
		}, 4000},
	} {
		c.files["proc/meminfo"] = meminfo
		kb, err := files(t, c.files).available(7)
		if err != nil || kb != c.kb {
			t.Errorf("%s: %d KB, %v; want %d KB", name, kb, err, c.kb)
		}
	}
}

func TestTheWorkingSetIsTheUseWithoutInactivePages(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		kb    int64 // -1: it cannot be measured
	}{
		"v2": {map[string]string{
			"proc/7/cgroup":                    "0::/a/b\n",
			"proc/self/mountinfo":              v2mount,
			"sys/fs/cgroup/a/b/memory.current": "3072000\n",
			"sys/fs/cgroup/a/b/memory.stat":    "anon 900\ninactive_anon 7\ninactive_file 1024000\nactive_file 5\n",
			"sys/fs/cgroup/a/memory.current":   "9\n",
		}, 2000},
		"v1, with the groups below": {map[string]string{
			"proc/7/cgroup":       "4:memory:/a\n1:cpu:/\n0::/\n",
			"proc/self/mountinfo": v1mount + v2mount,
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "3072000\n",
			"sys/fs/cgroup/memory/a/memory.stat":           "inactive_file 1024\ntotal_inactive_file 2048000\n",
		}, 1000},
		"v2 is not asked where v1 has the memory": {map[string]string{
			"proc/7/cgroup":       "0::/a\n4:memory:/a\n",
			"proc/self/mountinfo": v2mount + v1mount,
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "2048\n",
			"sys/fs/cgroup/memory/a/memory.stat":           "total_inactive_file 0\n",
			"sys/fs/cgroup/a/memory.current":               "1024\n",
			"sys/fs/cgroup/a/memory.stat":                  "inactive_file 0\n",
		}, 2},
		"more cache than use, as read one after the other": {map[string]string{
			"proc/7/cgroup":                  "0::/a\n",
			"proc/self/mountinfo":            v2mount,
			"sys/fs/cgroup/a/memory.current": "1024\n",
			"sys/fs/cgroup/a/memory.stat":    "inactive_file 4096\n",
		}, 0},
		"that of the container": {map[string]string{
			"proc/7/cgroup":                "0::/docker/abc\n",
			"proc/self/mountinfo":          "30 25 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
			"sys/fs/cgroup/memory.current": "1024000\n",
			"sys/fs/cgroup/memory.stat":    "inactive_file 0\n",
		}, 1000},
		"the root of v2 has none": {map[string]string{
			"proc/7/cgroup":             "0::/\n",
			"proc/self/mountinfo":       v2mount,
			"sys/fs/cgroup/memory.stat": "inactive_file 0\n",
		}, -1},
		"a file that says nothing of the cache": {map[string]string{
			"proc/7/cgroup":                  "0::/a\n",
			"proc/self/mountinfo":            v2mount,
			"sys/fs/cgroup/a/memory.current": "1024\n",
			"sys/fs/cgroup/a/memory.stat":    "anon 1\n",
		}, -1},
		"a kernel without cgroups": {map[string]string{}, -1},
	} {
		c.files["proc/meminfo"] = meminfo
		kb, err := files(t, c.files).workingSet(7)
		if (err != nil) != (c.kb < 0) || err == nil && kb != c.kb {
			t.Errorf("%s: %d KB, %v; want %d KB", name, kb, err, c.kb)
		}
	}
}

func TestAFrozenCgroupIsSeen(t *testing.T) {
	v1freezer := "37 34 0:32 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
	for name, c := range map[string]struct {
		files  map[string]string
		frozen bool
	}{
		"v2": {map[string]string{
			"proc/7/cgroup":                   "0::/a/b\n",
			"proc/self/mountinfo":             v2mount,
			"sys/fs/cgroup/a/b/cgroup.freeze": "1\n",
		}, true},
		"v2, the parent": {map[string]string{
			"proc/7/cgroup":                   "0::/a/b\n",
			"proc/self/mountinfo":             v2mount,
			"sys/fs/cgroup/a/b/cgroup.freeze": "0\n",
			"sys/fs/cgroup/a/cgroup.freeze":   "1\n",
		}, true},
		"v2, another one": {map[string]string{
			"proc/7/cgroup":                   "0::/a/b\n",
			"proc/self/mountinfo":             v2mount,
			"sys/fs/cgroup/a/b/cgroup.freeze": "0\n",
			"sys/fs/cgroup/a/c/cgroup.freeze": "1\n",
		}, false},
		"v1": {map[string]string{
			"proc/7/cgroup":                         "4:memory:/m\n6:freezer:/a\n0::/\n",
			"proc/self/mountinfo":                   v1mount + v1freezer + v2mount,
			"sys/fs/cgroup/freezer/a/freezer.state": "FROZEN\n",
		}, true},
		"v1, on its way": {map[string]string{
			"proc/7/cgroup":                         "6:freezer:/a\n",
			"proc/self/mountinfo":                   v1freezer,
			"sys/fs/cgroup/freezer/a/freezer.state": "FREEZING\n",
		}, true},
		"v1, running": {map[string]string{
			"proc/7/cgroup":                         "6:freezer:/a\n",
			"proc/self/mountinfo":                   v1freezer,
			"sys/fs/cgroup/freezer/a/freezer.state": "THAWED\n",
		}, false},
		"no cgroups": {map[string]string{}, false},
	} {
		if frozen := files(t, c.files).frozen(7); frozen != c.frozen {
			t.Errorf("%s: %v", name, frozen)
		}
	}
}

func TestThisProcessHasSomeMemoryAndUsesIt(t *testing.T) {
	available, err := Available(os.Getpid())
	if err != nil || available < 1000 {
		t.Errorf("%d KB, %v", available, err)
	}
	path, err := Path(os.Getpid())
	if err != nil {
		t.Skip(err) // the root cgroup of v2
	}
	if kb, err := WorkingSet(os.Getpid()); err != nil || kb < 1000 || kb > available {
		t.Errorf("%s: %d KB of %d KB, %v", path, kb, available, err)
	}
	if Frozen(os.Getpid()) {
		t.Error("frozen")
	}
}
