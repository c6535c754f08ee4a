package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/service"
)

// control is the options of gracewatch for the FIFO of the job hook, which both
// sides find by the same rule: the name of the service.
func (k *killer) control(target service.Target) ([]string, error) {
	path := k.values.Control
	if path == "" {
		dir := target.Service()
		if dir == "" {
			return nil, cli.Misusef("MEMORY_KILLER_CONTROL: not set, and %s is not a service directory that the FIFO could be named after", target.Text)
		}
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			real = dir
		}
		if real, err = filepath.Abs(real); err != nil {
			return nil, err
		}
		path = "/run/gracekit/" + filepath.Base(real) + ".control"
	}
	return k.controlAt(path)
}

// backgroundControl is the same where the worker itself is told the path: it
// inherits MEMORY_KILLER_CONTROL.
func (k *killer) backgroundControl() ([]string, error) {
	if !k.legacy() && k.values.Control == "" {
		return nil, nil
	}
	path := k.values.Control
	if path == "" {
		name := "sidekiq"
		if dir, err := os.Getwd(); err == nil {
			name = filepath.Base(dir)
		}
		path = "/run/gracekit/" + name + ".control"
	}
	argv, err := k.controlAt(path)
	if err == nil && !k.dryRun {
		// The watcher before this one may still be at its restart, and read the old one.
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO && int(st.Uid) == os.Geteuid() {
			os.Remove(path)
		}
		os.Setenv("MEMORY_KILLER_CONTROL", path)
	}
	return argv, err
}

func (k *killer) controlAt(path string) ([]string, error) {
	argv := []string{"--control", path}
	if group := k.controlGroup(); group != "" {
		argv = append(argv, "--control-group", group)
	}
	if k.dryRun {
		return argv, nil
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of MEMORY_KILLER_CONTROL: %w", err)
	}
	return argv, nil
}

// controlGroup is the group that may write the FIFO: the job hook runs as
// Sidekiq's user, written as chpst -u has it, USER or USER:GROUP.
func (k *killer) controlGroup() string {
	if k.values.ControlGroup != "" {
		return k.values.ControlGroup
	}
	name, groups, both := strings.Cut(strings.TrimPrefix(os.Getenv("SIDEKIQ_USER"), ":"), ":")
	if both {
		group, _, _ := strings.Cut(groups, ":")
		return group
	}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if name == "" || err != nil {
		return ""
	}
	return u.Gid
}
