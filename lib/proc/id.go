// Package proc knows one process: who it is, how large it is, its group and
// its tree, through /proc and a pidfd. It knows nothing of services and
// pidfiles, and never decides whom to signal.
package proc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrGone is the error of a process that has ended, or never was. A zombie has
// ended.
var ErrGone = errors.New("no such process")

// PIDMax is the largest pid that Linux gives (PID_MAX_LIMIT, proc(5)).
const PIDMax = 1 << 22

// ID is the identity of a process: no other process of this boot has the same.
type ID struct {
	PID   int
	Start uint64 // clock ticks since boot, field 22 of /proc/PID/stat
}

// ParseID reads PID:START.
func ParseID(s string) (ID, error) {
	pid, start, ok := strings.Cut(s, ":")
	p, errPID := ParsePID(pid)
	st, errStart := strconv.ParseUint(start, 10, 64)
	if !ok || errPID != nil || errStart != nil || start[0] == '+' {
		return ID{}, fmt.Errorf("invalid identity %q (want PID:STARTTIME, as svpid prints it)", s)
	}
	return ID{p, st}, nil
}

// ParsePID reads a pid: digits alone, 1 to PIDMax.
func ParsePID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > PIDMax {
		return 0, fmt.Errorf("invalid pid %q (want 1 to %d)", s, PIDMax)
	}
	return int(n), nil
}

// String is PID:START.
func (id ID) String() string {
	return strconv.Itoa(id.PID) + ":" + strconv.FormatUint(id.Start, 10)
}
