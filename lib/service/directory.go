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
	errNotStarted = unsupervised("no runsv or s6-supervise is running for it: it has no supervise/status")
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

// openTrusted opens the service directory if that may be used.
func (t Target) openTrusted() (*directory, user, error) {
	d, err := t.openDirectory()
	if err != nil {
		return nil, user{}, err
	}
	p, owner, errProcess, err := d.open()
	if errProcess == nil {
		p.Close()
	}
	if err != nil {
		d.close()
		return nil, user{}, err
	}
	return d, owner, nil
}

// OpenBoth is Open and OpenService("supervise") in one, for who looks at many
// services again and again. supervise is nil if it may not be used.
func (t Target) OpenBoth() (p *proc.Process, supervise *Dir, err error) {
	d, err := t.openDirectory()
	if err != nil {
		return nil, nil, t.openError(err)
	}
	defer unix.Close(d.fd)
	p, owner, err, errDir := d.open()
	if err != nil {
		err = t.openError(err)
	}
	d.supervise.users = []user{root(), caller(), owner}
	if errDir != nil || checkTrust(&d.superviseSt, d.supervise.users...) != nil {
		d.supervise.Close()
		return p, nil, err
	}
	return p, d.supervise, err
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

// open opens the process that ./run became, and checks that it may be used: err.
// errUse tells whether the directory may be, also while there is no process. The
// owner of the service is the user that the process runs as, or the owner of the
// directory while there is none.
func (d *directory) open() (p *proc.Process, owner user, err, errUse error) {
	owner = user{int(d.st.Uid), int(d.st.Gid)}
	if p, err = d.process(); err != nil {
		return nil, owner, err, d.checkTrust(root(), caller(), owner)
	}
	s, err := p.Status()
	if err == nil {
		err = d.checkParts(func(st *unix.Stat_t) error { return checkProcess(st, p.ID, s) })
	}
	if err == nil {
		err = checkLinkOwners(d.foreign, p.ID, s)
	}
	if err != nil {
		p.Close()
		return nil, owner, err, err
	}
	return p, user{s.UID, s.GID}, nil, nil
}

// checkTrust is the rule of trust with these users, for root.
func (d *directory) checkTrust(users ...user) error {
	if !isRoot() {
		return nil
	}
	if err := d.checkParts(func(st *unix.Stat_t) error { return checkTrust(st, users...) }); err != nil {
		return err
	}
	for _, l := range d.foreign {
		if l.uid != int(d.st.Uid) {
			return fmt.Errorf("the symbolic link %s is owned by uid %d", l.path, l.uid)
		}
	}
	return nil
}

// checkParts checks all that names the process.
func (d *directory) checkParts(check func(*unix.Stat_t) error) error {
	parts := []struct {
		name string
		st   *unix.Stat_t
	}{{"the service directory", &d.st}, {"supervise", &d.superviseSt}, {"supervise/status", &d.statusSt}}
	if d.statusSt.Ino == 0 { // there was none
		parts = parts[:2]
	}
	for _, part := range parts {
		if err := check(part.st); err != nil {
			return fmt.Errorf("%s is %w", part.name, err)
		}
	}
	return nil
}
