package cgroup

import (
	"os"
	"path"
	"strings"
)

// Frozen tells whether the process is frozen with its cgroup, or one above it, as
// docker pause does it, or will be as soon as the kernel can: cgroup.freeze of v2,
// freezer.state of v1. A frozen process handles no signal but KILL. Where that
// cannot be read it is not known to be frozen.
func Frozen(pid int) bool { return kernel.frozen(pid) }

func (sys system) frozen(pid int) (frozen bool) {
	groups, err := sys.folders(pid, "freezer")
	if err != nil {
		return false
	}
	for _, g := range groups {
		name := "freezer.state"
		if g.isV2() {
			name = "cgroup.freeze"
		}
		g.upwards(func(dir string) {
			text, _ := os.ReadFile(path.Join(dir, name))
			switch strings.TrimSpace(string(text)) {
			case "1", "FROZEN", "FREEZING":
				frozen = true
			}
		})
	}
	return frozen
}
