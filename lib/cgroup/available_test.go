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
		kb, err := files(t, c.files).available("7")
		if err != nil || kb != c.kb {
			t.Errorf("%s: %d KB, %v; want %d KB", name, kb, err, c.kb)
		}
	}
}

func TestThisProcessHasSomeMemory(t *testing.T) {
	kb, err := Available(os.Getpid())
	if err != nil || kb < 1000 {
		t.Errorf("%d KB, %v", kb, err)
	}
}
