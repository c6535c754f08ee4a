package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// files are the texts of files below /sys/fs/cgroup, without their last newline.
type files map[string]string

// kind is how process 7 sees its cgroups.
type kind struct{ cgroup, mountinfo string }

const (
	v1mounts = `35 34 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
36 34 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
37 34 0:32 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
`
	v2mount = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
)

var (
	none      = kind{}
	v2        = kind{"0::/a/b\n", v2mount}
	v2root    = kind{"0::/\n", v2mount}
	v1        = kind{"1:cpu:/\n4:memory:/a\n6:freezer:/a\n", v1mounts}
	both      = kind{"0::/a/b\n4:memory:/a\n6:freezer:/a\n", v2mount + v1mounts}
	container = kind{"0::/docker/abc/svc\n", "30 25 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"}
	outside   = kind{"0::/../other\n", v2mount} // its group is outside of what is mounted
	beside    = kind{"0::/docker/abcd\n", container.mountinfo}
)

// system has these files, and those of the proc file system.
func (k kind) system(t *testing.T, cgroups files) system {
	t.Helper()
	all := files{"proc/meminfo": "MemTotal:       16000000 kB\nMemFree:         1000000 kB\n"}
	if k != none {
		all["proc/7/cgroup"], all["proc/self/mountinfo"] = k.cgroup, k.mountinfo
	}
	for name, text := range cgroups {
		all["sys/fs/cgroup/"+name] = text + "\n"
	}
	root := t.TempDir()
	for name, text := range all {
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

func TestTheAvailableMemoryIsTheLowestLimit(t *testing.T) {
	for what, c := range map[string]struct {
		kind
		files
		kb int64
	}{
		"the machine's where there are no cgroups": {none, nil, 16000000},
		"the group's own, v2":                      {v2, files{"a/b/memory.max": "1024000", "a/memory.max": "max"}, 1000},
		"a parent's, v2":                           {v2, files{"a/b/memory.max": "1024000", "a/memory.max": "512000"}, 500},
		"the machine's where the limit is above":   {v1, files{"memory/a/memory.limit_in_bytes": "9223372036854771712"}, 16000000},
		"the group's own, v1":                      {both, files{"memory/a/memory.limit_in_bytes": "2048000"}, 2000},
		"that of the mounted part":                 {container, files{"memory.max": "4096000", "svc/memory.max": "3072000"}, 3000},
		"that of the mount":                        {outside, files{"memory.max": "4096000", "other/memory.max": "1024"}, 4000},
		"that of the mount beside one of its name": {beside, files{"memory.max": "4096000", "d/memory.max": "1024"}, 4000},
	} {
		if kb, err := c.system(t, c.files).available(7); err != nil || kb != c.kb {
			t.Errorf("%s: %d KB, %v; want %d KB", what, kb, err, c.kb)
		}
	}
}

func TestTheWorkingSetIsTheUseWithoutInactivePages(t *testing.T) {
	for what, c := range map[string]struct {
		kind
		files
		kb int64 // -1: it cannot be measured
	}{
		"v2": {v2, files{"a/b/memory.current": "3072000", "a/memory.current": "9",
			"a/b/memory.stat": "anon 900\ninactive_anon 7\ninactive_file 1024000\nactive_file 5"}, 2000},
		"v1, with the groups below": {v1, files{"memory/a/memory.usage_in_bytes": "3072000",
			"memory/a/memory.stat": "inactive_file 1024\ntotal_inactive_file 2048000"}, 1000},
		"v1 where both have it": {both, files{"memory/a/memory.usage_in_bytes": "2048", "memory/a/memory.stat": "total_inactive_file 0",
			"a/b/memory.current": "1024", "a/b/memory.stat": "inactive_file 0"}, 2},
		"more cache than use, as read one after the other": {v2, files{"a/b/memory.current": "1024", "a/b/memory.stat": "inactive_file 4096"}, 0},
		"that of the container":                            {container, files{"svc/memory.current": "1024000", "svc/memory.stat": "inactive_file 0"}, 1000},
		"the root of v2 has none":                          {v2root, files{"memory.stat": "inactive_file 0"}, -1},
		"nothing is said of the cache":                     {v2, files{"a/b/memory.current": "1024", "a/b/memory.stat": "anon 1"}, -1},
		"a kernel without cgroups":                         {none, nil, -1},
	} {
		kb, err := c.system(t, c.files).workingSet(7)
		if (err != nil) != (c.kb < 0) || err == nil && kb != c.kb {
			t.Errorf("%s: %d KB, %v; want %d KB", what, kb, err, c.kb)
		}
	}
}

func TestAFrozenCgroupIsSeen(t *testing.T) {
	for what, c := range map[string]struct {
		kind
		files
		frozen bool
	}{
		"v2":              {v2, files{"a/b/cgroup.freeze": "1"}, true},
		"v2, the parent":  {v2, files{"a/b/cgroup.freeze": "0", "a/cgroup.freeze": "1"}, true},
		"v2, another one": {v2, files{"a/b/cgroup.freeze": "0", "a/c/cgroup.freeze": "1"}, false},
		"v1":              {both, files{"freezer/a/freezer.state": "FROZEN"}, true},
		"v1, on its way":  {v1, files{"freezer/a/freezer.state": "FREEZING"}, true},
		"v1, running":     {v1, files{"freezer/a/freezer.state": "THAWED"}, false},
		"no cgroups":      {none, nil, false},
	} {
		if frozen := c.system(t, c.files).frozen(7); frozen != c.frozen {
			t.Errorf("%s: %v", what, frozen)
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
