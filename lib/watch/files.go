package watch

import (
	"os"
	"path/filepath"
	"slices"

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

// Store is the state file: that of --state, or that in the supervise of the
// service.
func (h *host) Store() (s *store, err error) {
	cfg := h.cfg
	s = &store{path: cfg.State, name: filepath.Base(cfg.State), control: cfg.Control, self: selfID(), directory: serviceDirectory(cfg)}
	inSupervise := isInSupervise(cfg.State)
	switch {
	case cfg.State != "":
		s.open = func() (*service.Dir, error) {
			dir, _, err := service.OpenParent(cfg.State)
			return dir, err
		}
	case cfg.Target.Service() == "", cfg.DryRun && !cfg.Once:
		return s, nil
	default:
		s.path, s.name, inSupervise = filepath.Join(cfg.Target.Service(), "supervise", stateName), stateName, true
		s.open = cfg.Target.OpenSupervise
	}
	if inSupervise {
		s.opened = h.openServiceControl
		if !cfg.Once {
			s.control = filepath.Join(filepath.Dir(s.path), controlName)
		}
	}
	if path, err := filepath.Abs(s.control); err == nil && s.control != "" { // its readers work elsewhere
		s.control = path
	}
	s.boot, err = proc.Boot()
	return s, err
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
	h.controls = slices.DeleteFunc(h.controls, func(c controlFIFO) bool {
		if !c.hook { // that of a supervise that was deleted
			unix.Close(c.fd)
		}
		return !c.hook
	})
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
func (h *host) History() (*history, error) {
	cfg := h.cfg
	var dir *service.Dir
	var err error
	name := historyName
	switch {
	case cfg.NoHistory, cfg.Once, cfg.DryRun:
		return nil, nil
	case cfg.History != "":
		dir, name, err = service.OpenParent(cfg.History)
	case cfg.Target.Service() != "" && cfg.State == "":
		dir, err = cfg.Target.OpenSupervise()
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return openHistory(dir, name)
}
