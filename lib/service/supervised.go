package service

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// errAbsent is the error of a status whose pid is that of no process, not even a
// zombie.
var errAbsent = errors.New("no process")

// settleTime is how long a status may name a process that has been reaped: a
// supervisor writes it anew at once.
const settleTime = 500 * time.Millisecond

// process opens the process that the status names. The status that led to it must
// still be there when the process is open.
func (d *directory) process() (*proc.Process, error) {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(5 * time.Millisecond) {
		before, err := d.readStatus()
		if errors.Is(err, unix.ENOENT) {
			switch errControl := d.checkSupervisor("control"); { // a supervisor has that first
			case errControl == errStale, errors.Is(errControl, unix.ENOENT):
				return nil, errNotStarted
			case errControl != nil:
				return nil, err
			case time.Now().Before(deadline):
				continue
			}
			// Where it cannot write, on a full disk, it starts the service all the same.
			return nil, errNoStatus
		}
		if err != nil {
			return nil, err
		}
		s, err := parseStatus(before)
		if err != nil {
			return nil, err
		}
		p, err := d.openStatus(s)
		after, errAfter := d.readStatus()
		stable := errAfter == nil && bytes.Equal(before, after)
		late := time.Now().After(deadline)
		switch {
		case stable && err == nil:
			return p, nil
		case stable && err == errAbsent && late:
			return nil, fmt.Errorf("supervise/status names pid %d, and there is no such process here (a supervisor in another pid namespace?)", s.pid)
		case stable && err != errAbsent:
			return nil, err
		}
		if err == nil {
			p.Close()
		}
		if errAfter != nil {
			return nil, errAfter
		}
		if late {
			return nil, errors.New("supervise/status changes faster than it can be read")
		}
	}
}

// openStatus opens the process of a status, if its supervisor lives.
func (d *directory) openStatus(s status) (*proc.Process, error) {
	if err := d.checkSupervisor(s.fifo); err != nil {
		return nil, err
	}
	switch s.phase {
	case down:
		return nil, &GoneError{Why: "the service is down"}
	case finishing:
		return nil, &GoneError{Why: "the service is in ./finish"}
	}
	p, err := proc.Open(s.pid)
	if errors.Is(err, proc.ErrGone) && unix.Kill(s.pid, 0) == unix.ESRCH {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	if err := d.checkParent(p, s.stamp); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// maxStampDistance is how far the start time of a process and the stamp that its
// supervisor wrote right after the fork may be apart on a slow machine.
const maxStampDistance = 2 * time.Second

// checkParent refuses a process that is not the child of the service's supervisor.
// A service directory can be shared between pid namespaces (a volume of two
// containers): its status then names a pid of the other one, which is an unrelated
// process here, and the FIFO of the supervisor answers across namespaces all the
// same. Every supervisor has the service directory as its working directory, and
// that of DIR/log has DIR. The start time is compared only where the caller may not
// see the working directory: containers that were started together have processes
// with the same pid and nearly the same start time.
func (d *directory) checkParent(p *proc.Process, stamp time.Time) error {
	s, err := p.Stat()
	if err != nil {
		return err
	}
	var cwd, upper, log unix.Stat_t
	errCwd := unix.Stat(fmt.Sprintf("/proc/%d/cwd", s.PPID), &cwd)
	switch {
	case errCwd == nil && sameFile(&cwd, &d.st):
		return nil
	case errCwd == nil && unix.Fstatat(d.fd, "../log", &log, 0) == nil && sameFile(&log, &d.st) &&
		unix.Fstatat(d.fd, "..", &upper, 0) == nil && sameFile(&cwd, &upper):
		return nil
	case errCwd != nil && started(p.ID).Sub(stamp).Abs() <= maxStampDistance:
		return nil
	}
	return fmt.Errorf("supervise/status names process %v, which is not a child of the service's supervisor (a supervisor in another pid namespace?)", p.ID)
}

func sameFile(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// started is when a process was started, by the clock on the wall, as if that had
// never been set.
func started(id proc.ID) time.Time { return time.Now().Add(id.StartTime() - proc.Now()) }

// readStatus reads supervise/status, which its supervisor always replaces as a whole.
func (d *directory) readStatus() ([]byte, error) {
	fd, st, err := openAt(d.supervise.fd, "status", unix.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read supervise/status: %w", err)
	}
	defer unix.Close(fd)
	d.statusSt = st
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("cannot read supervise/status: %w", errNotRegular)
	}
	if err := checkWorld(&st); err != nil {
		return nil, fmt.Errorf("supervise/status is %w", err)
	}
	buf := make([]byte, s6Length213+1)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

// checkSupervisor refuses a status whose supervisor does not read its FIFO any more:
// it is stale.
func (d *directory) checkSupervisor(fifo string) error {
	fd, st, err := openAt(d.supervise.fd, fifo, unix.O_WRONLY, 0)
	switch {
	case err == unix.ENXIO:
		return errStale
	case err != nil:
		return fmt.Errorf("cannot open supervise/%s: %w", fifo, err)
	}
	unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("supervise/%s is not a FIFO", fifo)
	}
	return nil
}
