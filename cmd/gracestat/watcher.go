package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
	"gracekit/lib/watch"
)

// watcher is a gracewatch that runs, and where it keeps its files.
type watcher struct {
	id      proc.ID
	argv    []string
	state   string // of --state; "": in supervise of its service, or none
	history string // of --history
}

// openWatcher opens a gracewatch. A state file, which may be anybody's, proves
// nothing: the process has to be there, with the name of the program, and run as
// the user whose file it is.
func openWatcher(id proc.ID) (p *proc.Process, uid int, err error) {
	if p, err = proc.OpenID(id); err != nil {
		return nil, 0, err
	}
	status, err := p.Status()
	if err == nil && !hasName(p, "gracewatch") {
		err = fmt.Errorf("%v is not a gracewatch", p.ID)
	}
	if err != nil {
		p.Close()
		return nil, 0, err
	}
	return p, status.EUID, nil
}

// hasName reports whether a process has one of these names.
func hasName(p *proc.Process, names ...string) bool {
	name, err := p.Name()
	return err == nil && slices.Contains(names, name)
}

// scanEvery is how often all processes are looked through for watchers.
const scanEvery = 10 * time.Second

// watchers are all that run.
func (c *collector) watchers() []watcher {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if now := proc.Now(); c.scanned == 0 || now-c.scanned >= scanEvery {
		c.scanned, c.found = now, findWatchers()
	}
	return c.found
}

func findWatchers() (found []watcher) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // nothing is found
	}
	for _, entry := range entries {
		pid, err := proc.ParsePID(entry.Name())
		if err != nil || readProc(pid, "comm") != "gracewatch\n" {
			continue
		}
		p, err := proc.Open(pid)
		if err != nil {
			continue
		}
		w := watcher{id: p.ID, argv: strings.Split(strings.TrimSuffix(readProc(pid, "cmdline"), "\x00"), "\x00")}
		p.Close()
		w.state, w.history = w.file("--state"), w.file("--history")
		found = append(found, w)
	}
	return found
}

// readProc reads a file of a process, "" if it cannot be read.
func readProc(pid int, name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	return string(text)
}

// programs are what is watched without being a service: processes that were started
// by memory-killer(8), below systemd for example, which names them by their identity.
func (c *collector) programs(services []Service) (programs []Service) {
	for _, w := range c.watchers() {
		if slices.ContainsFunc(services, func(s Service) bool { return s.Watcher == w.id }) {
			continue
		}
		i := slices.IndexFunc(w.argv, func(word string) bool { _, err := proc.ParseID(word); return err == nil })
		if i < 0 {
			continue
		}
		id, _ := proc.ParseID(w.argv[i])
		t, _ := service.Parse(w.argv[i])
		if s, _ := c.service(target{t, programName(id.PID), false}); s.Watcher == w.id {
			programs = append(programs, s)
		}
	}
	return programs
}

// programName is the systemd unit of a process, or else its own name.
func programName(pid int) string {
	for line := range strings.Lines(readProc(pid, "cgroup")) {
		if unit, ok := strings.CutSuffix(filepath.Base(strings.TrimSpace(line)), ".service"); ok {
			return unit
		}
	}
	name, _, _ := strings.Cut(strings.TrimSpace(readProc(pid, "comm")), " ") // Sidekiq's has its version, too
	return name
}

// file is the value of an option that names a file, as a path that leads there
// from here.
func (w *watcher) file(option string) (path string) {
	for i, word := range w.argv {
		value, ok := strings.CutPrefix(word, option+"=")
		if word == option && i+1 < len(w.argv) {
			value, ok = w.argv[i+1], true
		}
		if ok {
			path = value
		}
	}
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", w.id.PID))
	if err != nil {
		return ""
	}
	return filepath.Join(cwd, path)
}

// readWatcher finds the watcher of a service, and reads its state: that in
// supervise of the service directory, or that of a gracewatch which keeps it
// elsewhere. p is the service's process, nil if there is none.
func (c *collector) readWatcher(t target, p *proc.Process, supervise *service.Dir, s *Service) {
	if supervise != nil {
		c.readSupervise(supervise, s)
	}
	if s.Watcher != (proc.ID{}) {
		return
	}
	for _, w := range c.watchers() {
		if w.watches(t, p, s) {
			return
		}
	}
}

// readSupervise reads supervise/gracewatch, and finds out whether the gracewatch
// that wrote it lives.
func (c *collector) readSupervise(dir *service.Dir, s *Service) {
	snap, info, err := readState(dir, "gracewatch")
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Missing = fmt.Sprintf("cannot read the state of its watcher: %v", err)
		}
		return
	}
	s.Snapshot, s.state, s.written = snap, filepath.Join(dir.String(), "gracewatch"), info.ModTime()
	id, err := proc.ParseID(snap.Watcher)
	if err != nil || snap.Boot != c.boot {
		return // of another boot: nothing in it lives
	}
	w, owner, err := openWatcher(id)
	if err != nil {
		return
	}
	defer w.Close()
	if owner == int(info.Sys().(*syscall.Stat_t).Uid) {
		s.Watcher = id
	}
}

// watches reports whether a gracewatch watches this service, by its state file, or,
// without one, by the target in its arguments.
func (w *watcher) watches(t target, p *proc.Process, s *Service) bool {
	if w.state == "" && (p == nil || !slices.Contains(w.argv, p.ID.String())) {
		return false
	}
	wp, uid, err := openWatcher(w.id)
	if err != nil {
		return false
	}
	defer wp.Close()
	if !trusted(uid, p) {
		return false
	}
	snap, info, err := w.read(wp)
	if err == nil && snap.Watcher != wp.ID.String() {
		err = errors.New("another watcher has written it")
	}
	switch {
	case err == nil && isOf(snap, t, p):
		s.Snapshot, s.state, s.written, s.Missing = snap, w.state, info.ModTime(), ""
	case err == nil, p == nil, !slices.Contains(w.argv, p.ID.String()):
		return false
	default:
		s.Snapshot, s.Missing = &watch.Snapshot{}, fmt.Sprintf("its limits are not known: cannot read the state of its watcher %v: %v", wp.ID, err)
	}
	s.Watcher, s.history = wp.ID, w.history
	return true
}

// read reads its state file.
func (w *watcher) read(p *proc.Process) (*watch.Snapshot, fs.FileInfo, error) {
	if w.state == "" {
		return nil, nil, errors.New("it keeps none (set MEMORY_KILLER_STATE, or use --state)")
	}
	dir, name, err := service.OpenParentOf(p, w.state)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	return readState(dir, name)
}

// trusted reports whether a gracewatch of this user may watch a process.
func trusted(uid int, p *proc.Process) bool {
	if uid == 0 || uid == os.Geteuid() {
		return true
	}
	if p == nil {
		return false
	}
	status, err := p.Status()
	return err == nil && uid == status.EUID
}

// isOf reports whether a state is that of a service: of its directory, or of one of
// its processes.
func isOf(snap *watch.Snapshot, t target, p *proc.Process) bool {
	var st unix.Stat_t
	if path := t.Service(); path != "" && snap.Directory != nil && unix.Stat(path, &st) == nil {
		return *snap.Directory == watch.Directory{Device: uint64(st.Dev), Inode: st.Ino}
	}
	if p == nil {
		return false
	}
	ids := []proc.ID{p.ID}
	if found, err := sidekiq.NewLister().List(p); err == nil {
		ids = append(ids, found...)
	}
	return slices.ContainsFunc(snap.Instances, func(i watch.InstanceSnapshot) bool {
		return slices.ContainsFunc(ids, func(id proc.ID) bool { return id.String() == i.ID })
	})
}

// maxSnapshot is the longest state file that is read, in bytes.
const maxSnapshot = 4 << 20

// readState reads a state file; info has its owner, which may be the service's own
// user: nothing is done by it.
func readState(dir *service.Dir, name string) (snap *watch.Snapshot, info fs.FileInfo, err error) {
	f, err := dir.OpenFile(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err = f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > maxSnapshot {
		return nil, nil, fmt.Errorf("%s is longer than %d bytes", f.Name(), maxSnapshot)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSnapshot))
	if err != nil {
		return nil, nil, err
	}
	snap = &watch.Snapshot{}
	if err := json.Unmarshal(text, snap); err != nil {
		return nil, nil, fmt.Errorf("%s is damaged: %w", f.Name(), err)
	}
	if snap.Version != watch.SnapshotVersion {
		return nil, nil, fmt.Errorf("%s has version %d (want %d)", f.Name(), snap.Version, watch.SnapshotVersion)
	}
	return snap, info, nil
}
