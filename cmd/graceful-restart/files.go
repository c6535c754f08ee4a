package main

import (
	"os"
	"path/filepath"

	"gracekit/lib/service"
)

// directoryOf is the service directory that a target is; "" if it is none.
func directoryOf(t service.Target) string {
	if t.IsDirectory() {
		return t.Service()
	}
	return ""
}

// isPidfile tells whether a target is a file, which names the new process as well.
func isPidfile(t service.Target) bool {
	info, err := os.Lstat(t.Text)
	return err == nil && info.Mode().IsRegular()
}

// readFile reads a small file of a service directory that can be trusted, by a
// method of its folder.
func readFile(dir, name string, most int, read func(*service.Dir, string, int) ([]byte, error)) ([]byte, error) {
	target, err := service.Parse(dir)
	if err != nil {
		return nil, err
	}
	d, err := target.OpenService(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return read(d, filepath.Base(name), most)
}

// openLockFile opens a file of a service directory for locking.
func openLockFile(dir, name string) (*os.File, error) {
	target, err := service.Parse(dir)
	if err != nil {
		return nil, err
	}
	d, err := target.OpenSupervise()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.OpenFile(filepath.Base(name), os.O_RDWR|os.O_CREATE, 0o600)
}
