package service

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// maxPidfile is the length of the longest identity file, with room for white space.
const maxPidfile = 128

// openPidfile opens the process that a pidfile, or an identity file of pgexec,
// names. A plain pid whose process started after the file was written is stale.
func openPidfile(at *place) (*proc.Process, error) {
	if at.linked { // a user's own link would have root read a file that the user cannot
		if err := at.checkLinks(); err != nil {
			return nil, err
		}
	}
	fd, st, err := at.open(unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNotRegular
	}
	if err := checkWorld(&st); err != nil {
		return nil, err
	}
	buf := make([]byte, maxPidfile+1)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, err
	}
	pid, id, err := parsePidfile(buf[:n])
	if err != nil {
		return nil, err
	}
	var p *proc.Process
	if pid == 0 {
		p, err = openRecorded(id, int(st.Uid))
	} else {
		p, err = openPID(pid)
	}
	if err != nil {
		return nil, err
	}
	status, err := p.Status()
	if err == nil {
		err = checkProcess(&st, p.ID, status)
	}
	if err == nil {
		err = checkLinkOwners(at.foreign, p.ID, status)
	}
	if err == nil && pid != 0 {
		err = checkAge(p.ID, time.Unix(st.Mtim.Unix()))
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func openPID(pid int) (*proc.Process, error) {
	p, err := proc.Open(pid)
	if errors.Is(err, proc.ErrGone) {
		err = fmt.Errorf("%w with pid %d", proc.ErrGone, pid)
	}
	return p, err
}

// openRecorded opens the process of an identity file. While the process lives it
// shows whether the file's owner may name it. When it has exited its group may
// live, and nothing shows any more whose that is.
func openRecorded(id proc.ID, uid int) (*proc.Process, error) {
	p, err := openID(id)
	if errors.Is(err, proc.ErrGone) && uid != 0 && isRoot() {
		return nil, fmt.Errorf("owned by uid %d, and process %v has exited, so that nothing shows that it was that user's", uid, id)
	}
	return p, err
}

// parsePidfile reads a pid, with white space around it, or an identity file.
func parsePidfile(text []byte) (pid int, id proc.ID, err error) {
	if len(text) > maxPidfile {
		return 0, id, fmt.Errorf("not a pidfile: longer than %d bytes", maxPidfile)
	}
	word := strings.TrimSpace(string(text))
	if word == "" || strings.Contains(word, ":") {
		id, err = parseIdentity(word)
	} else {
		pid, err = proc.ParsePID(word)
	}
	if err != nil && !errors.Is(err, proc.ErrGone) {
		err = fmt.Errorf("not a pidfile: %w", err)
	}
	return pid, id, err
}

// checkAge refuses a pid that was given to another process after the file was
// written. Both times are coarse (a clock tick each), so that much is allowed.
func checkAge(id proc.ID, written time.Time) error {
	const coarse = 20 * time.Millisecond
	if started := started(id); started.After(written.Add(coarse)) {
		return &GoneError{Stale: true, Why: fmt.Sprintf("stale: process %d started %v after the file was written",
			id.PID, started.Sub(written).Round(10*time.Millisecond))}
	}
	return nil
}
