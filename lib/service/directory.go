package service

import (
	"errors"
	"fmt"

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
	errNoStatus   = unsupervised("its supervisor runs, but has written no supervise/status: the process of the service cannot be known")
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

// openTrusted opens the service directory if that may be used. The owner of the
// service is the user that the process runs as, or the owner of the directory
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

// OpenBoth is Open and OpenService("supervise") in one, for who looks at many
// services again and again. The errors are those of the two.
func (t Target) OpenBoth() (p *proc.Process, supervise *Dir, errProcess, errDir error) {
	d, err := t.openDirectory()
	if err != nil {
		err = fmt.Errorf("cannot use %s: %w", t.Text, err)
		return nil, nil, err, err
	}
	defer unix.Close(d.fd)
	p, errProcess = d.open()
	owner := user{int(d.st.Uid), int(d.st.Gid)}
	if errProcess == nil {
		var s proc.Status
		s, errDir = p.Status()
		owner = user{s.UID, s.GID}
	} else {
		errProcess = t.openError(errProcess)
		errDir = d.checkTrust(root(), caller(), owner)
	}
	supervise = d.supervise
	supervise.users = []user{root(), caller(), owner}
	if errDir == nil {
		errDir = checkTrust(&d.superviseSt, supervise.users...)
	}
	if errDir != nil {
		supervise.Close()
		return p, nil, errProcess, fmt.Errorf("cannot use %s: %w", supervise, errDir)
	}
	return p, supervise, errProcess, nil
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
	s, err := p.Status()
	if err != nil {
		return err
	}
	for _, part := range d.parts() {
		if err := checkProcess(part.st, p.ID, s); err != nil {
			return fmt.Errorf("%s is %w", part.name, err)
		}
	}
	return checkLinkOwners(d.foreign, p.ID, s)
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
