package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// store is the state file and its lock, in a directory that was checked and is
// open: what its path leads to later is not written to.
type store struct {
	path   string                       // for messages; empty: no state is kept
	name   string                       // in the directory
	open   func() (*service.Dir, error) // checks the directory and opens it
	opened func(*service.Dir)           // opens what else is in it; may be nil
	dir    *service.Dir                 // nil: it could not be opened yet
	lock   *os.File                     // nil: not locked yet
	fault  fault

	boot, self, control string             // of the snapshot
	directory           *Directory         // likewise
	left                []InstanceSnapshot // by an earlier gracewatch, and not resumed yet
}

// fault is something that fails, perhaps for long: it is logged when it begins.
type fault bool

func (f *fault) begins(err error) bool {
	before := *f
	*f = err != nil
	return bool(*f && !before)
}

// ErrLocked is the error of a state file that another gracewatch has.
var ErrLocked = errors.New("locked by another gracewatch")

// acquireLock locks the file beside it.
func (s *store) acquireLock() error {
	if s.lock != nil {
		return nil
	}
	dir, err := s.open()
	if err != nil {
		return err
	}
	lock, err := dir.OpenLock(s.name + ".lock")
	if err != nil {
		dir.Close()
		if errors.Is(err, service.ErrLocked) {
			return ErrLocked
		}
		return err
	}
	s.close()
	s.dir, s.lock = dir, lock
	if s.opened != nil {
		s.opened(dir)
	}
	return nil
}

func (s *store) close() {
	if s.lock != nil {
		s.lock.Close()
	}
	if s.dir != nil {
		s.dir.Close()
	}
}

// mostState is the length of the longest state file, in bytes; that of 500
// children is a fifth of it.
const mostState = 1 << 20

// read reads the file. Where its directory cannot be opened there is none.
func (s *store) read() ([]byte, error) {
	dir := s.dir
	if dir == nil {
		var err error
		if dir, err = s.open(); err != nil {
			return nil, fs.ErrNotExist
		}
		defer dir.Close()
	}
	return dir.ReadFile(s.name, mostState)
}

// write replaces the file. If its directory was deleted, it may have been made
// anew.
func (s *store) write(text []byte) error {
	if err := s.acquireLock(); err != nil {
		return err
	}
	err := s.dir.WriteFile(s.name, text, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before := *s
	s.dir, s.lock = nil, nil
	if err := s.acquireLock(); err != nil {
		s.dir, s.lock = before.dir, before.lock
		return err
	}
	before.close()
	return s.dir.WriteFile(s.name, text, 0o600)
}

// load reads what the last gracewatch left. The error says why it is not
// believed.
func (s *store) load(now time.Duration) (left Snapshot, err error) {
	text, err := s.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Snapshot{}, nil
	case err != nil:
		return Snapshot{}, err
	case json.Unmarshal(text, &left) != nil || !left.isValid():
		err = errors.New("it is damaged")
	case left.Boot != s.boot:
		err = errors.New("it was written before this boot")
	case left.isAhead(now):
		err = errors.New("its times are in the future (another time namespace?)")
	case left.Directory != nil && s.directory != nil && *left.Directory != *s.directory:
		err = fmt.Errorf("it is of another service directory, %q", left.Target)
	}
	if err != nil {
		left = Snapshot{}
	}
	return left, err
}

// isValid tells whether a snapshot can be one that was written.
func (s *Snapshot) isValid() bool {
	if s.Version != SnapshotVersion || s.Boot == "" || s.Target == "" {
		return false
	}
	return !slices.ContainsFunc(s.Instances, func(d InstanceSnapshot) bool {
		_, err := proc.ParseID(d.ID)
		return err != nil || d.KB < 0 || d.State.Since < 0 || d.State.HardSince < 0 || d.State.NotBefore < 0
	})
}

// isAhead tells whether something has happened later than now: what is counted
// from then would never come.
func (s *Snapshot) isAhead(now time.Duration) bool {
	return s.Backoff.Soft.Last > now || s.Backoff.Hard.Last > now || slices.ContainsFunc(s.Instances, func(d InstanceSnapshot) bool {
		return max(d.State.Since, d.State.HardSince, d.RestartBegan, d.RestartedAt) > now
	})
}
