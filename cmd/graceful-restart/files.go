package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gracekit/lib/service"
)

// directoryOf is the service directory that a target is; "" if it is none.
func directoryOf(t service.Target) string {
	if t.IsDirectory() {
		return t.Text
	}
	return ""
}

// isPidfile tells whether a target is a file, which names the new process as well.
func isPidfile(t service.Target) bool {
	info, err := os.Lstat(t.Text)
	return err == nil && info.Mode().IsRegular()
}

// readFile reads a small file of a service directory; "" and false if it cannot
// be trusted, or is not there.
func readFile(dir, name string, most int) ([]byte, bool) {
	text, err := service.ReadFile(filepath.Join(dir, name), most)
	return text, err == nil
}

// openLockFile opens a file of a service directory for locking.
func openLockFile(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}
