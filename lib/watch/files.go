package watch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// Names of files in the supervise of a service directory.
const (
	stateName   = "gracewatch"
	historyName = "gracewatch.history"
	controlName = "gracewatch.control"
)

// stateFile is the state file and its lock, in a directory that was checked and
// is open: what its path leads to later is not written to.
type stateFile struct {
	path   string                       // for messages
	name   string                       // in the directory
	open   func() (*service.Dir, error) // checks the directory and opens it
	opened func(*service.Dir)           // opens what else is in it; may be nil
	dir    *service.Dir                 // nil: it could not be opened yet
	lock   *os.File                     // nil: not locked yet
}

func (f *stateFile) Name() string { return f.path }

// Lock locks the file beside it.
func (f *stateFile) Lock() error {
	if f.lock != nil {
		return nil
	}
	dir, err := f.open()
	if err != nil {
		return err
	}
	lock, err := dir.OpenLock(f.name + ".lock")
	if err != nil {
		dir.Close()
		if errors.Is(err, service.ErrLocked) {
			return ErrLocked
		}
		return err
	}
	f.close()
	f.dir, f.lock = dir, lock
	if f.opened != nil {
		f.opened(dir)
	}
	return nil
}

// Read reads the file. Where its directory cannot be opened there is none.
func (f *stateFile) Read() ([]byte, error) {
	dir := f.dir
	if dir == nil {
		var err error
		if dir, err = f.open(); err != nil {
			return nil, fs.ErrNotExist
		}
		defer dir.Close()
	}
	return dir.ReadFile(f.name, mostState)
}

// Write replaces the file. If its directory was deleted, it may have been made
// anew.
func (f *stateFile) Write(text []byte) error {
	if err := f.Lock(); err != nil {
		return err
	}
	err := f.dir.WriteFile(f.name, text, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	held := *f
	f.dir, f.lock = nil, nil
	if err := f.Lock(); err != nil {
		f.dir, f.lock = held.dir, held.lock
		return err
	}
	held.close()
	return f.dir.WriteFile(f.name, text, 0o600)
}

func (f *stateFile) close() {
	if f.lock != nil {
		f.lock.Close()
	}
	if f.dir != nil {
		f.dir.Close()
	}
}

// Store is the state file: that of --state, or that in the supervise of the
// service.
func (h *host) Store() (*store, error) {
	cfg := h.cfg
	f := &stateFile{path: cfg.State}
	switch directory := cfg.Target.Service(); {
	case cfg.State != "":
		f.name = filepath.Base(cfg.State)
		f.open = func() (*service.Dir, error) {
			dir, _, err := service.OpenParent(cfg.State)
			return dir, err
		}
		if isInSupervise(cfg.State) {
			f.opened = h.openServiceControl
		}
	case directory == "", cfg.DryRun && !cfg.Once:
		return nil, nil
	default:
		f.path, f.name = filepath.Join(directory, "supervise", stateName), stateName
		f.open = cfg.Target.OpenSupervise
		f.opened = h.openServiceControl
	}
	boot, err := proc.Boot()
	if err != nil {
		return nil, err
	}
	s := &store{files: f, directory: serviceDirectory(cfg), boot: boot, self: selfID(), control: cfg.Control}
	if f.opened != nil && !cfg.Once {
		s.control = filepath.Join(filepath.Dir(f.path), controlName)
	}
	if path, err := filepath.Abs(s.control); err == nil && s.control != "" { // its readers work elsewhere
		s.control = path
	}
	return s, nil
}

// serviceDirectory tells which service a state file is of: the target, or, for a
// watcher of one process that keeps its state in a supervise, the service that
// this belongs to. nil: none.
func serviceDirectory(cfg *Config) *Directory {
	path := cfg.Target.Service()
	if path == "" && isInSupervise(cfg.State) {
		path = filepath.Dir(filepath.Dir(cfg.State))
	}
	var st unix.Stat_t
	if path == "" || unix.Stat(path, &st) != nil {
		return nil
	}
	return &Directory{Device: uint64(st.Dev), Inode: st.Ino}
}

// isInSupervise tells whether a state file is in the supervise directory of a
// service.
func isInSupervise(state string) bool { return filepath.Base(filepath.Dir(state)) == "supervise" }

// selfID is the identity of this process.
func selfID() string {
	p, err := proc.Open(os.Getpid())
	if err != nil {
		return ""
	}
	defer p.Close()
	return p.ID.String()
}

// openServiceControl makes the FIFO that each service has. The watch goes on
// without.
func (h *host) openServiceControl(dir *service.Dir) {
	if h.cfg.Once || h.cfg.DryRun {
		return
	}
	for i, c := range h.controls {
		if !c.hook { // that of a supervise that was deleted
			unix.Close(c.fd)
			h.controls = append(h.controls[:i], h.controls[i+1:]...)
			break
		}
	}
	fd, err := dir.OpenFIFO(controlName, -1)
	if err != nil {
		h.cfg.Messages.Warn("%v", err)
		return
	}
	h.controls = append(h.controls, controlFIFO{fd: fd})
}

// openControl makes the FIFO of --control.
func (h *host) openControl(path string, gid int) error {
	dir, name, err := service.OpenParent(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	fd, err := dir.OpenFIFO(name, gid)
	if err != nil {
		return err
	}
	h.controls = append(h.controls, controlFIFO{fd, true})
	return nil
}

// History is the history file: that of --history, or that in the supervise of the
// service. nil: none is kept.
func (h *host) History() *history {
	cfg := h.cfg
	var dir *service.Dir
	var err error
	name := historyName
	switch {
	case cfg.NoHistory, cfg.Once, cfg.DryRun:
		return nil
	case cfg.History != "":
		dir, name, err = service.OpenParent(cfg.History)
	case cfg.Target.Service() != "" && cfg.State == "":
		dir, err = cfg.Target.OpenSupervise()
	default:
		return nil
	}
	var kept *history
	if err == nil {
		defer dir.Close()
		kept, err = openHistory(dir, name)
	}
	if err != nil {
		cfg.Messages.Error("cannot keep the history: %v", err)
	}
	return kept
}
