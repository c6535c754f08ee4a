package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// readBeside reads the state of the gracewatch that memory-killer has left beside
// a process which is no service of runit or s6, as under systemd. Its arguments
// name the process and the state file.
func (c *collector) readBeside(p *proc.Process, s *Service) {
	all, err := c.scan.All()
	if err != nil {
		s.Missing = fmt.Sprintf("cannot look for its watcher: %v", err)
		return
	}
	for _, other := range all {
		w, err := proc.Open(other.PID)
		if err != nil {
			continue // it has ended
		}
		state, uid, watches := watchesBeside(w, p)
		w.Close()
		switch {
		case !watches:
			continue
		case state == "":
			s.Missing = fmt.Sprintf("its watcher (pid %d) keeps no state: set MEMORY_KILLER_STATE, see memory-killer(8)", other.PID)
			return
		}
		text, err := readState(state, uid)
		if err != nil {
			s.Missing = fmt.Sprintf("cannot read the state of its watcher: %v", err)
			return
		}
		c.use(text, state, s)
		return
	}
}

// watchesBeside tells whether a process is the gracewatch of another, and where
// it keeps its state. One of a user who is neither root nor the user of the
// process is not believed.
func watchesBeside(w, p *proc.Process) (state string, uid int, ok bool) {
	text, err := w.ReadFile("cmdline")
	argv := strings.Split(string(text), "\x00")
	if err != nil || filepath.Base(argv[0]) != "gracewatch" || !slices.Contains(argv, p.ID.String()) {
		return "", 0, false
	}
	watcher, err := w.Status()
	if err != nil {
		return "", 0, false
	}
	process, err := p.Status()
	if err != nil || watcher.UID != 0 && watcher.UID != process.UID {
		return "", 0, false
	}
	if i := slices.Index(argv, "--state"); i > 0 && i+1 < len(argv) {
		state = argv[i+1]
	}
	return state, watcher.UID, true
}

// readState reads a state file by its path. It is only shown, but nobody may have
// root show a file that is not theirs.
func readState(path string, uid int) ([]byte, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	switch err := unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errors.New(path + ": not a regular file")
	case int(st.Uid) != uid:
		return nil, fmt.Errorf("%s: owned by uid %d, but the watcher runs as uid %d", path, st.Uid, uid)
	}
	return io.ReadAll(io.LimitReader(f, maxSnapshot))
}
