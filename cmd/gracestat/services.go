package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/service"
)

// serviceFolders are where services are searched: as sv(8) does, and where
// s6-overlay has them.
func serviceFolders() []string {
	if dir := os.Getenv("SVDIR"); dir != "" {
		return []string{dir}
	}
	return []string{"/etc/service", "/run/service", "/service"}
}

// findServices finds all services there are.
func findServices() (targets []target) {
	type file struct{ device, inode uint64 }
	seen := map[file]bool{} // /etc/service may be a link to another of the folders
	for _, folder := range serviceFolders() {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // a machine has one of them
		}
		for _, entry := range entries {
			path := filepath.Join(folder, entry.Name())
			var st unix.Stat_t
			if unix.Stat(path, &st) != nil || isOfS6(entry.Name()) {
				continue
			}
			info, err := os.Stat(filepath.Join(path, "supervise"))
			if supervised := err == nil && info.IsDir() || errors.Is(err, fs.ErrPermission); !supervised {
				continue
			}
			id := file{uint64(st.Dev), st.Ino}
			if seen[id] {
				continue
			}
			seen[id] = true
			t, err := service.Parse(path)
			if err != nil {
				continue
			}
			targets = append(targets, target{t, entry.Name(), false})
		}
	}
	return targets
}

// isOfS6 reports whether a service is none of an operator's: s6-linux-init and
// s6-rc, and so every container of s6-overlay, have their own among the others.
func isOfS6(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "s6-linux-init-") || strings.HasPrefix(name, "s6rc-")
}

// nameOf is how a target is called in the table: the last part of a path.
func nameOf(word string) string {
	name := filepath.Base(filepath.Clean(word))
	if name == "." || name == ".." || name == "/" {
		if full, err := filepath.Abs(word); err == nil {
			return filepath.Base(full)
		}
	}
	return name
}
