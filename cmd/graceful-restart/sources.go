package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"

	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/watch"
)

// sources are where the settings of a worker may be found besides the options
// and our own environment, the best first. What cannot be read is left out.
func (f *finder) sources(worker *proc.Process) (list []source) {
	if notes := f.bootNotes(worker.ID); notes != nil {
		list = append(list, source{"what gracewatch noted of " + worker.ID.String(), notes.lookup})
	}
	list = append(list, ofProcess(worker))
	for _, a := range f.place.belowSupervisor(worker) {
		if p, err := proc.OpenID(a.ID); err == nil {
			list = append(list, ofProcess(p))
			p.Close()
		}
	}
	if f.place.dir != "" {
		list = append(list, source{f.place.dir + "/conf", f.conf})
	}
	return list
}

// ofProcess is what a process was started with, where its title has not
// overwritten that: a title begins where the arguments were, and goes on into
// the environment. A variable whose name is cut off is not found.
func ofProcess(p *proc.Process) source {
	environ, _ := p.Environ()
	cmdline, _ := p.ReadFile("cmdline")
	variables := map[string]string{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if _, again := variables[name]; ok && !again {
			variables[name] = value
		}
	}
	if timeout := timeoutOf(strings.Split(string(cmdline), "\x00")); timeout != "" {
		variables[argvTimeout] = timeout
	}
	return source{"process " + p.ID.String(), func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}}
}

// conf reads a file of the service's conf/ as envdir does: its first line, and
// an empty file is no variable.
func (f *finder) conf(name string) (string, bool) {
	if name == argvTimeout {
		return "", false
	}
	text, err := readFile(f.place.dir, "conf/"+name, maxConf, (*service.Dir).ReadLinked)
	if err != nil || len(text) == 0 {
		f.warnUnread(err)
		return "", false
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimRight(line, " \t\r")), true
}

// warnUnread logs once that a file of conf/ is there and is not used: a timeout
// that is set and ignored would cost jobs. Without a supervisor, or the right to
// read supervise/, no file there was looked at.
func (f *finder) warnUnread(err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, service.ErrUnsupervised) || f.unread[err.Error()] {
		return
	}
	if f.unread == nil {
		f.unread = map[string]bool{}
	}
	f.unread[err.Error()] = true
	f.cmd.Warn("ignored: %v", err)
}

const (
	maxConf     = 4 << 10
	maxSnapshot = 1 << 20
)

// notes are what gracewatch saw of a worker while it booted.
type notes watch.BootNotes

func (n *notes) lookup(name string) (string, bool) {
	if name == argvTimeout {
		return n.Timeout, n.Timeout != ""
	}
	value, ok := n.Environ[name]
	return value, ok
}

// bootNotes finds the notes of a worker.
func (f *finder) bootNotes(worker proc.ID) *notes {
	snapshot := f.snapshot()
	if snapshot == nil {
		return nil
	}
	for _, i := range snapshot.Instances {
		if i.ID == worker.String() && i.Boot != nil {
			return (*notes)(i.Boot)
		}
	}
	return nil
}

// snapshot is the state file of the gracewatch that watches the service; nil if
// there is none of this boot.
func (f *finder) snapshot() *watch.Snapshot {
	if f.place.dir == "" {
		return nil
	}
	text, err := readFile(f.place.dir, "supervise/gracewatch", maxSnapshot, (*service.Dir).ReadFile)
	var snapshot watch.Snapshot
	if err != nil || json.Unmarshal(text, &snapshot) != nil {
		return nil
	}
	if boot, err := proc.Boot(); err != nil || boot != snapshot.Boot {
		return nil
	}
	return &snapshot
}
