package service

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// directory is a service directory and its supervise, both open.
type directory struct {
	fd          int // O_PATH
	st          unix.Stat_t
	supervise   *Dir
	superviseSt unix.Stat_t
	statusSt    unix.Stat_t // of the status that was read last
	foreign     []link      // on the way to it
}

// ErrUnsupervised is the error of a directory without a supervisor: nothing starts
// a service there, until runsv or s6-supervise does.
var ErrUnsupervised = errors.New("unsupervised")

var (
	errNotService = unsupervised("not a service directory: it has no supervise")
	errStale      = unsupervised("no runsv or s6-supervise is running for it: its status is stale")
)

type unsupervised string

func (u unsupervised) Error() string        { return string(u) }
func (u unsupervised) Is(target error) bool { return target == ErrUnsupervised }

// openDirectory opens a service directory. A link in the place of supervise is
// followed only if nobody but root and the caller can have made it: Debian's lead
// to /run, that of another user could lead anywhere.
func openDirectory(p *place, path string) (*directory, error) {
	fd, st, err := p.open(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := &directory{fd: fd, st: st, foreign: p.foreign}
	if err = checkWorld(&st); err == nil {
		err = d.openSupervise(path)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return d, nil
}

func (d *directory) openSupervise(path string) (err error) {
	d.supervise, d.superviseSt, err = openDirAt(d.fd, "supervise", path+"/supervise")
	if errors.Is(err, unix.ENOENT) {
		return errNotService
	}
	if err != nil {
		return err
	}
	if err := checkWorld(&d.superviseSt); err != nil {
		d.supervise.Close()
		return fmt.Errorf("supervise is %w", err)
	}
	return nil
}

func (d *directory) close() {
	d.supervise.Close()
	unix.Close(d.fd)
}

// OpenSupervise opens the supervise of the service directory that the target is,
// to read and write files in it.
func (t Target) OpenSupervise() (*Dir, error) {
	d, _, err := t.openTrusted()
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", t.Text, err)
	}
	unix.Close(d.fd)
	return d.supervise, nil
}

// OpenService opens a directory in the service directory that the target is, such
// as conf, to read files in it: those of the user that the process runs as, too,
// so that nothing may be done that this user could not do.
func (t Target) OpenService(name string) (*Dir, error) {
	d, owner, err := t.openTrusted()
	if err != nil {
		return nil, fmt.Errorf("cannot use %s: %w", t.Text, err)
	}
	defer d.close()
	dir, st, err := openDirAt(d.fd, name, t.path+"/"+name)
	if err != nil {
		return nil, err
	}
	dir.users = []user{root(), caller(), owner}
	if err := checkTrust(&st, dir.users...); err != nil {
		dir.Close()
		return nil, fmt.Errorf("cannot use %s: %w", dir, err)
	}
	return dir, nil
}

// openTrusted opens the service directory if that may be used, and tells who owns
// the service: the user that the process runs as, or the owner of the directory
// while there is no process.
func (t Target) openTrusted() (*directory, user, error) {
	d, err := t.openDirectory()
	if err != nil {
		return nil, user{}, err
	}
	owner := user{int(d.st.Uid), int(d.st.Gid)}
	if p, errProcess := d.process(); errProcess != nil {
		err = d.checkTrust(root(), caller(), owner)
	} else {
		var s proc.Status
		if s, err = p.Status(); err == nil {
			owner = user{s.UID, s.GID}
			err = d.checkProcess(p)
		}
		p.Close()
	}
	if err != nil {
		d.close()
		return nil, user{}, err
	}
	return d, owner, nil
}

// WantedState reads what the operator wants of the service that the target is. An
// error: nothing supervises it, so that nothing would start it again.
func (t Target) WantedState() (WantedState, error) {
	d, err := t.openDirectory()
	if err != nil {
		return WantedState{}, fmt.Errorf("cannot use %s: %w", t.Text, err)
	}
	defer d.close()
	text, err := d.readStatus()
	var s status
	if err == nil {
		s, err = parseStatus(text)
	}
	if err == nil {
		err = d.checkSupervisor(s.fifo)
	}
	if err != nil {
		return WantedState{}, fmt.Errorf("cannot use %s: %w", t.Text, err)
	}
	return s.wanted, nil
}

func (t Target) openDirectory() (*directory, error) {
	p, err := walk(unix.AT_FDCWD, t.path)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return openDirectory(p, t.path)
}

// open opens the process that ./run became, and checks that it may be used.
func (d *directory) open() (*proc.Process, error) {
	p, err := d.process()
	if err != nil {
		return nil, err
	}
	if err := d.checkProcess(p); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// checkProcess is the rule of trust for all that led to the process.
func (d *directory) checkProcess(p *proc.Process) error {
	for _, part := range d.parts() {
		if err := checkProcess(part.st, p); err != nil {
			return fmt.Errorf("%s is %w", part.name, err)
		}
	}
	return checkLinkOwners(d.foreign, p)
}

// checkTrust is the rule of trust with these users, for root.
func (d *directory) checkTrust(users ...user) error {
	if !isRoot() {
		return nil
	}
	for _, part := range d.parts() {
		if err := checkTrust(part.st, users...); err != nil {
			return fmt.Errorf("%s is %w", part.name, err)
		}
	}
	for _, l := range d.foreign {
		if l.uid != int(d.st.Uid) {
			return fmt.Errorf("the symbolic link %s is owned by uid %d", l.path, l.uid)
		}
	}
	return nil
}

type part struct {
	name string
	st   *unix.Stat_t
}

func (d *directory) parts() []part {
	parts := []part{{"the service directory", &d.st}, {"supervise", &d.superviseSt}}
	if d.statusSt.Ino != 0 {
		parts = append(parts, part{"supervise/status", &d.statusSt})
	}
	return parts
}

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
		if errors.Is(err, unix.ENOENT) && d.checkSupervisor("control") == nil { // a supervisor has that first
			return nil, &GoneError{Why: "its supervisor has only just started: there is no supervise/status yet"}
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
// same. Every supervisor has the service directory as its working directory; where
// the caller may not see that, the start time must fit.
func (d *directory) checkParent(p *proc.Process, stamp time.Time) error {
	s, err := p.Stat()
	if err != nil {
		return err
	}
	var cwd unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d/cwd", s.PPID), &cwd) == nil && cwd.Dev == d.st.Dev && cwd.Ino == d.st.Ino {
		return nil
	}
	if started(p.ID).Sub(stamp).Abs() <= maxStampDistance {
		return nil
	}
	return fmt.Errorf("supervise/status names process %v, which is not a child of the service's supervisor (a supervisor in another pid namespace?)", p.ID)
}

// started is when a process was started, by the clock on the wall, as if that had
// never been set.
func started(id proc.ID) time.Time { return time.Now().Add(id.StartTime() - proc.Now()) }

// readStatus reads supervise/status, which its supervisor always replaces as a whole.
func (d *directory) readStatus() ([]byte, error) {
	fd, err := unix.Openat(d.supervise.fd, "status", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.ELOOP {
		err = errLink
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read supervise/status: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &d.statusSt); err != nil {
		return nil, fmt.Errorf("cannot read supervise/status: %w", err)
	}
	if d.statusSt.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("cannot read supervise/status: %w", errNotRegular)
	}
	if err := checkWorld(&d.statusSt); err != nil {
		return nil, fmt.Errorf("supervise/status is %w", err)
	}
	buf := make([]byte, s6Length213+1)
	n, err := unix.Read(fd, buf)
	return buf[:max(n, 0)], err
}

// checkSupervisor tells by an error that no supervisor reads its FIFO: the status
// is stale then.
func (d *directory) checkSupervisor(fifo string) error {
	fd, err := unix.Openat(d.supervise.fd, fifo, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENXIO:
		return errStale
	case err != nil:
		return fmt.Errorf("cannot open supervise/%s: %w", fifo, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("supervise/%s is not a FIFO", fifo)
	}
	return nil
}
