package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/service"
)

// runDirectory has what belongs to no service directory.
const runDirectory = "/run/gracekit"

// control returns the options of gracewatch for the FIFO of the job hook. Both
// sides find it by the same rule: the name of the service directory. Where its
// directory cannot be made or written, checks come by the clock alone.
func (k *killer) control(directory string) ([]string, error) {
	path := k.values.Control
	switch {
	case path != "":
	case !k.legacy:
		return nil, nil
	case directory == "":
		return nil, &wrongSetting{errors.New("MEMORY_KILLER_CONTROL: not set, and the target is not a service directory that the FIFO is named after " +
			"(want the path of a FIFO, or SIDEKIQ_DAEMON_MEMORY_KILLER=1)")}
	default:
		path = filepath.Join(runDirectory, filepath.Base(resolved(directory))+".control")
	}
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() != fs.ModeNamedPipe {
		return nil, &wrongSetting{fmt.Errorf("MEMORY_KILLER_CONTROL: %q exists and is not a FIFO", path)}
	}
	argv := []string{"--control", path}
	group, err := k.controlGroup(directory)
	if err != nil {
		return nil, err
	}
	if group != "" {
		argv = append(argv, "--control-group", group)
	}
	if k.dryRun {
		return argv, nil
	}
	if err := makeRoom(path); err != nil {
		k.cmd.Error("cannot make the control FIFO %s: %v: the job hook cannot ask for checks, the size is checked each %v instead", path, err, k.values.Interval)
		k.legacy = false
		return nil, nil
	}
	return argv, nil
}

// resolved is a path in full, without links as far as it is there.
func resolved(path string) string {
	path = full(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// makeRoom makes the directory of a FIFO. The error says why gracewatch could not
// make the FIFO there, or open the one that is there.
func makeRoom(path string) error {
	directory := filepath.Dir(path)
	if err := makeDirectory(directory); err != nil {
		return err
	}
	err := unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK, unix.AT_EACCESS)
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Faccessat(unix.AT_FDCWD, directory, unix.W_OK, unix.AT_EACCESS)
	}
	return err
}

// makeDirectory makes a directory that others can read, under any umask.
func makeDirectory(path string) error {
	defer unix.Umask(unix.Umask(0o022))
	return os.MkdirAll(path, 0o755)
}

// controlGroup is the group that may write the FIFO: that of the job hook, which
// runs as Sidekiq's user.
func (k *killer) controlGroup(directory string) (string, error) {
	if group := k.values.ControlGroup; group != "" {
		_, err := user.LookupGroup(group)
		if _, numeric := strconv.ParseUint(group, 10, 31); err != nil && numeric != nil {
			return "", &wrongSetting{fmt.Errorf("MEMORY_KILLER_CONTROL_GROUP: invalid group %q (want a name of /etc/group or a number)", group)}
		}
		return group, nil
	}
	if _, gid, ok := sidekiqUser(directory); ok {
		return strconv.Itoa(gid), nil
	}
	return "", nil
}

// sidekiqUser is the user and the group that Sidekiq runs as, by the rules of
// sidekiq-run: SIDEKIQ_USER, in our environment or in the service's conf/, else
// the owner of SIDEKIQ_APP.
func sidekiqUser(directory string) (uid, gid int, ok bool) {
	if text := os.Getenv("SIDEKIQ_USER"); text != "" {
		return parseUser(text)
	}
	if directory == "" {
		return 0, 0, false
	}
	conf, err := service.OpenDir(filepath.Join(directory, "conf"))
	if err != nil {
		return 0, 0, false
	}
	defer conf.Close()
	if text := firstLine(conf, "SIDEKIQ_USER"); text != "" {
		return parseUser(text)
	}
	var st unix.Stat_t
	app := firstLine(conf, "SIDEKIQ_APP")
	if !filepath.IsAbs(app) || unix.Stat(app, &st) != nil {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

// firstLine reads a setting as envdir does.
func firstLine(conf *service.Dir, name string) string {
	text, err := conf.ReadFile(name, 4096)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, " \t")
}

// parseUser reads a user as chpst -u has it: USER, USER:GROUP... or :UID:GID.
func parseUser(text string) (uid, gid int, ok bool) {
	name, groups, both := strings.Cut(strings.TrimPrefix(text, ":"), ":")
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		u = &user.User{Uid: name, Gid: name} // of :UID:GID, in a container without a name for it
	}
	if both {
		u.Gid, _, _ = strings.Cut(groups, ":")
		if g, err := user.LookupGroup(u.Gid); err == nil {
			u.Gid = g.Gid
		}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	return uid, gid, errUID == nil && errGID == nil && uid >= 0 && gid >= 0
}

// makeNotes makes the directory in which the job hook notes the running jobs for
// sidekiq-fleet: as Sidekiq's user it could not.
func (k *killer) makeNotes(directory string) {
	uid, gid, ok := sidekiqUser(directory)
	if !ok || os.Geteuid() != 0 || k.dryRun {
		return
	}
	path := filepath.Join(runDirectory, strconv.Itoa(uid))
	err := makeDirectory(path)
	if err == nil {
		err = os.Lchown(path, uid, gid)
	}
	if err != nil {
		k.cmd.Warn("cannot make the directory of the job hook's notes: %v", err)
	}
}
