package proc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is one process that cannot be mistaken for another: it is held by a
// pidfd (pidfd_open(2)) and by its directory in /proc, and both answer with an
// error once it is gone, also when its pid has been given away.
type Process struct {
	ID            ID
	pidfd, dir    descriptor
	statm, status descriptor // open files of dir, none until they are needed
}

// descriptor is an open file descriptor plus 1, so that its zero value is none,
// and not standard input: a Process that was made of an ID alone holds nothing.
type descriptor int

func held(fd int) descriptor { return descriptor(fd + 1) }

// fd is -1 for none.
func (d descriptor) fd() int { return int(d) - 1 }

// ErrHidden is the error of a process that has not ended, and that /proc does
// not show to the caller.
var ErrHidden = errors.New("/proc hides it from this user (mount option hidepid, or ProtectProc= of systemd)")

// Open opens the process that has this pid now. ErrGone if there is none, and
// if the pid is that of a thread.
func Open(pid int) (*Process, error) {
	if err := ownProc(); err != nil {
		return nil, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
	case unix.ESRCH:
		return nil, ErrGone
	case unix.EINVAL, unix.ENOENT: // it is not a thread group's leader
		return nil, fmt.Errorf("%w (%d is a thread)", ErrGone, pid)
	case unix.ENOSYS, unix.EPERM: // a seccomp filter may answer with either
		return nil, fmt.Errorf("cannot open a pidfd: %v (want Linux 5.3 or later, and a seccomp profile that allows pidfd_open)", err)
	default:
		return nil, fmt.Errorf("cannot open a pidfd: %w", err)
	}
	p := &Process{pidfd: held(pidfd)}
	if err := p.identify(pid); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// OpenID opens this very process. ErrGone if it has ended.
func OpenID(id ID) (*Process, error) {
	p, err := Open(id.PID)
	if err != nil {
		return nil, err
	}
	if p.ID != id {
		p.Close()
		return nil, fmt.Errorf("%w (%d is another process now: %v)", ErrGone, id.PID, p.ID)
	}
	return p, nil
}

// identify opens the directory and reads the start time. They belong to the
// process of the pidfd if that still answers afterwards, for until then its
// pid was not free.
func (p *Process) identify(pid int) error {
	dir, errDir := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errDir == nil {
		p.dir = held(dir)
	}
	if p.Ended() {
		return ErrGone
	}
	if errDir == unix.ENOENT { // hidepid=4; with hidepid=2 the directory can be opened, and nothing in it
		errDir = ErrHidden
	}
	if errDir != nil {
		return fmt.Errorf("cannot open /proc/%d: %w", pid, errDir)
	}
	s, err := p.Stat()
	if err == nil && unix.PidfdSendSignal(p.pidfd.fd(), 0, nil, 0) == unix.ESRCH {
		err = ErrGone
	}
	if err != nil && !errors.Is(err, ErrGone) {
		err = fmt.Errorf("cannot read /proc/%d/stat: %w", pid, err)
	}
	p.ID = ID{pid, s.Start}
	return err
}

// Close closes what is open of the process.
func (p *Process) Close() {
	for _, d := range []*descriptor{&p.pidfd, &p.dir, &p.statm, &p.status} {
		if d.fd() >= 0 {
			unix.Close(d.fd())
		}
		*d = 0
	}
}

// Stat reads /proc/PID/stat.
func (p *Process) Stat() (Stat, error) {
	var room [512]byte
	text, err := p.readOnce("stat", room[:])
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(text)
}

// Status reads /proc/PID/status.
func (p *Process) Status() (Status, error) {
	var room [4096]byte
	text, err := p.readOnce("status", room[:])
	if err != nil {
		return Status{}, err
	}
	return parseStatus(text)
}

// Name is the name of the process as ps prints it, /proc/PID/comm.
func (p *Process) Name() (string, error) {
	comm, err := p.ReadFile("comm")
	return strings.TrimSuffix(string(comm), "\n"), err
}

// PollFd is what ppoll(2) waits on for the end of the process: POLLIN, which
// comes with its last thread, whether anybody has waited for it or not.
func (p *Process) PollFd() unix.PollFd {
	return unix.PollFd{Fd: int32(p.pidfd.fd()), Events: unix.POLLIN}
}

// Ended tells whether the process has ended. The state in /proc doesn't: Z is
// also the state of a main thread that ended before the others.
func (p *Process) Ended() bool {
	n, err := Poll([]unix.PollFd{p.PollFd()}, 0)
	return err == nil && n > 0
}

// Signal sends a signal to the process. ErrGone if it has ended and was waited for.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.pidfd.fd(), sig, nil, 0)
	if err == unix.ESRCH {
		return ErrGone
	}
	return err
}

// ErrNoGroupSignal says that the kernel cannot signal a group by pidfd (Linux 6.9 can).
var ErrNoGroupSignal = errors.New("no signals to a group by pidfd")

// SignalGroup sends a signal to all of the process group that the process
// leads, or led, in one step. ErrGone if nothing of the group is left,
// ErrNoGroupSignal where members have to be signalled one by one.
func (p *Process) SignalGroup(sig unix.Signal) error {
	const pidfdSignalProcessGroup = 1 << 2 // linux/pidfd.h
	switch err := unix.PidfdSendSignal(p.pidfd.fd(), sig, nil, pidfdSignalProcessGroup); err {
	case unix.ESRCH:
		return ErrGone
	case unix.EINVAL:
		return ErrNoGroupSignal
	default:
		return err
	}
}
