package proc

import (
	"bytes"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Status is what /proc/PID/status says beyond Stat (proc_pid_status(5)).
type Status struct {
	UID, EUID int    // real and effective, Uid
	GID, EGID int    // real and effective, Gid: the primary group
	Caught    uint64 // signals with a handler, SigCgt: bit 0 is signal 1
	Pending   uint64 // signals that the main thread has not taken yet, SigPnd
}

// Catches tells whether the process has a handler for the signal.
func (s Status) Catches(sig unix.Signal) bool {
	return sig >= 1 && sig <= 64 && s.Caught&(1<<(sig-1)) != 0
}

var errStatus = errors.New("cannot parse /proc/PID/status")

// parseStatus reads the text of /proc/PID/status. The name, its first line, is
// the process's own choice, but the kernel escapes newlines in it.
func parseStatus(text []byte) (s Status, err error) {
	uids := bytes.Fields(statusLine(text, "Uid:"))
	gids := bytes.Fields(statusLine(text, "Gid:"))
	caught := bytes.TrimSpace(statusLine(text, "SigCgt:"))
	pending := bytes.TrimSpace(statusLine(text, "SigPnd:"))
	if len(uids) < 2 || len(gids) < 2 {
		return Status{}, errStatus
	}
	var errs [6]error
	s.UID, errs[0] = strconv.Atoi(string(uids[0]))
	s.EUID, errs[1] = strconv.Atoi(string(uids[1]))
	s.GID, errs[2] = strconv.Atoi(string(gids[0]))
	s.EGID, errs[3] = strconv.Atoi(string(gids[1]))
	s.Caught, errs[4] = strconv.ParseUint(string(caught), 16, 64)
	s.Pending, errs[5] = strconv.ParseUint(string(pending), 16, 64)
	if errors.Join(errs[:]...) != nil {
		return Status{}, errStatus
	}
	return s, nil
}

// IsExiting tells whether the process has begun to exit, by itself or by KILL. Its
// threads end one by one then, and those that are left show nothing.
func (p *Process) IsExiting() bool {
	const exiting = 0x00000004 // PF_EXITING, linux/sched.h
	stat, err := p.Stat()
	if err == nil && stat.Flags&exiting == 0 {
		var s Status
		s, err = p.Status()
		return err == nil && s.Pending&(1<<(unix.SIGKILL-1)) != 0 || errors.Is(err, ErrGone)
	}
	return err == nil || errors.Is(err, ErrGone)
}

// statusLine is what stands behind a key at the start of a line, to its end.
func statusLine(text []byte, key string) []byte {
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		if len(line) >= len(key) && string(line[:len(key)]) == key {
			return line[len(key):]
		}
	}
	return nil
}
