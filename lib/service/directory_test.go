package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// startAs starts a process of a user.
func startAs(t *testing.T, uid, gid int) proc.ID {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p, err := proc.Open(cmd.Process.Pid)
	must(t, err)
	defer p.Close()
	return p.ID
}

// give has a service directory owned by a user, with all that is in it.
func give(t *testing.T, dir string, uid, gid int) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	}))
}

func parse(t *testing.T, text string) Target {
	t.Helper()
	target, err := Parse(text)
	must(t, err)
	return target
}

// The owner of a service directory replaces supervise by a link while root watches.
func TestASuperviseThatItsOwnerReplacesByALinkIsNotFollowed(t *testing.T) {
	asRoot(t)
	id := startAs(t, nobody, nobody)
	dir, elsewhere := directoryWith(t, runitStatus(t, id.PID, 1), "ok", true), tempDir(t)
	give(t, dir, nobody, nobody)
	supervise, err := parse(t, dir).OpenSupervise()
	must(t, err)
	defer supervise.Close()
	must(t, supervise.WriteFile("gracewatch", []byte("1"), 0o600))

	moved := filepath.Join(dir, "moved")
	must(t, os.Rename(filepath.Join(dir, "supervise"), moved), os.Symlink(elsewhere, filepath.Join(dir, "supervise")),
		os.Lchown(filepath.Join(dir, "supervise"), nobody, nobody))
	must(t, supervise.WriteFile("gracewatch", []byte("2"), 0o600))
	if text, _ := os.ReadFile(filepath.Join(moved, "gracewatch")); string(text) != "2" {
		t.Errorf("what is open already is written as %q", text)
	}
	const want = "cannot follow the symbolic link supervise: its directory is owned by uid 65534"
	if d, err := parse(t, dir).OpenSupervise(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, %v", d, err)
	}
	if found, err := find(dir); err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, %v", found, err)
	}
	if _, _, err := OpenParent(filepath.Join(dir, "supervise", "pgid")); err == nil || !strings.Contains(err.Error(), "its directory is owned by uid 65534") {
		t.Errorf("%v", err)
	}
	if _, err := parse(t, dir).WantedState(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	checkEntries(t, elsewhere)
}

func TestRootUsesOnlyWhatRootOrTheUserOfTheProcessCanWrite(t *testing.T) {
	asRoot(t)
	const uid, gid, other = 12345, 12346, 12347
	id := startAs(t, uid, gid)
	pidfile := file(t, fmt.Sprint(id.PID), 0o644)
	dir := directoryWith(t, runitStatus(t, id.PID, 1), "ok", true)
	for _, path := range []string{pidfile, dir, filepath.Join(dir, "supervise"), filepath.Join(dir, "supervise", "status")} {
		target := dir
		if path == pidfile {
			target = pidfile
		}
		before, err := os.Stat(path)
		must(t, err)
		plain := before.Mode().Perm() &^ 0o022
		for _, c := range []struct {
			uid, gid int
			mode     os.FileMode
			want     string
		}{
			{0, 0, plain, ""},
			{0, 0, plain | 0o020, ""},
			{uid, gid, plain, ""},
			{uid, gid, plain | 0o020, ""}, // Capistrano's 0775 deploy:deploy
			{0, gid, plain | 0o020, ""},
			{uid, other, plain, ""},
			{uid, other, plain | 0o020, "group-writable by gid 12347"},
			{0, other, plain | 0o020, "group-writable by gid 12347"},
			{other, gid, plain, "owned by uid 12347"},
			{uid, gid, plain | 0o002, "world-writable"},
			{0, 0, plain | 0o002 | os.ModeSticky, "world-writable"},
		} {
			must(t, os.Chown(path, c.uid, c.gid), os.Chmod(path, c.mode))
			found, err := find(target)
			if c.want == "" && (err != nil || found != id) || c.want != "" && (err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s of %d:%d, mode %v: %v, %v; want %q", path, c.uid, c.gid, c.mode, found, err, c.want)
			}
		}
		must(t, os.Chown(path, 0, 0), os.Chmod(path, plain))
	}
}

// While there is no process, the owner of a service directory owns its supervise, too.
func TestASuperviseIsOpenedWhileTheServiceIsDown(t *testing.T) {
	asRoot(t)
	down := runitStatus(t, 0, 0)
	dir := directoryWith(t, down, "ok", true)
	for _, c := range []struct {
		owner, supervise int
		want             string
	}{
		{0, 0, ""},
		{nobody, nobody, ""},
		{nobody, 0, ""},
		{0, nobody, "supervise is owned by uid 65534"},
		{nobody, 12345, "supervise is owned by uid 12345"},
	} {
		must(t, os.Chown(dir, c.owner, c.owner), os.Chown(filepath.Join(dir, "supervise"), c.supervise, c.supervise))
		d, err := parse(t, dir).OpenSupervise()
		if err == nil {
			d.Close()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAFileOfTheServicesUserIsReadButNotForTheWatchersOwnState(t *testing.T) {
	asRoot(t)
	id := startAs(t, nobody, nobody)
	dir := directoryWith(t, runitStatus(t, id.PID, 1), "ok", true)
	must(t, os.Mkdir(filepath.Join(dir, "conf"), 0o755))
	for _, name := range []string{"conf/SIDEKIQ_TIMEOUT", "supervise/gracewatch"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("60\n"), 0o644))
	}
	give(t, dir, nobody, nobody)
	conf, err := parse(t, dir).OpenService("conf")
	must(t, err)
	defer conf.Close()
	if text, err := conf.ReadFile("SIDEKIQ_TIMEOUT", 100); err != nil || string(text) != "60\n" {
		t.Errorf("%q, %v", text, err)
	}
	supervise, err := parse(t, dir).OpenSupervise()
	must(t, err)
	defer supervise.Close()
	if text, err := supervise.ReadFile("gracewatch", 100); err == nil || !strings.Contains(err.Error(), "owned by uid 65534") {
		t.Errorf("%q, %v", text, err)
	}
	must(t, os.Chown(filepath.Join(dir, "conf/SIDEKIQ_TIMEOUT"), 12345, 0))
	if text, err := conf.ReadFile("SIDEKIQ_TIMEOUT", 100); err == nil {
		t.Errorf("of another user: %q", text)
	}
}

func TestAnythingButAStatusFileIsRefused(t *testing.T) {
	id := self(t)
	running := runitStatus(t, id.PID, 1)
	for what, replace := range map[string]func(status string) error{
		"a link": func(status string) error {
			return errors.Join(os.Rename(status, status+".real"), os.Symlink("status.real", status))
		},
		"a FIFO":      func(status string) error { return errors.Join(os.Remove(status), unix.Mkfifo(status, 0o644)) },
		"a directory": func(status string) error { return errors.Join(os.Remove(status), os.Mkdir(status, 0o755)) },
		"a device":    func(status string) error { return errors.Join(os.Remove(status), os.Symlink("/dev/zero", status)) },
		"too long":    func(status string) error { return os.WriteFile(status, make([]byte, 100), 0o644) },
	} {
		dir := directoryWith(t, running, "ok", true)
		must(t, replace(filepath.Join(dir, "supervise", "status")))
		if found, err := find(dir); err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), "supervise/status") {
			t.Errorf("%s: %v, %v", what, found, err)
		}
	}
	for what, replace := range map[string]func(ok string) error{
		"a file": func(ok string) error { return errors.Join(os.Remove(ok), os.WriteFile(ok, nil, 0o600)) },
		"a link": func(ok string) error { return errors.Join(os.Rename(ok, ok+".real"), os.Symlink("ok.real", ok)) },
	} {
		dir := directoryWith(t, running, "ok", true)
		must(t, replace(filepath.Join(dir, "supervise", "ok")))
		if found, err := find(dir); err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), "supervise/ok") {
			t.Errorf("%s in place of the FIFO: %v, %v", what, found, err)
		}
	}
}

// A status can name a pid of another pid namespace, which is any process here, or none.
func TestOnlyAChildOfTheSupervisorIsItsProcess(t *testing.T) {
	id := self(t)
	stranger := runitStatus(t, id.PID, 1)
	binary.BigEndian.PutUint64(stranger, uint64(time.Now().Add(-time.Hour).Unix()+10+1<<62))
	dir := directoryWith(t, stranger, "ok", true)
	if found, err := find(dir); err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), id.String()+", which is not a child of the service's supervisor") {
		t.Errorf("a stranger: %v, %v", found, err)
	}
	none := runitStatus(t, proc.PIDMax, 1)
	if found, err := find(directoryWith(t, none, "ok", true)); err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), "no such process here") {
		t.Errorf("no process: %v, %v", found, err)
	}

	// A process whose parent is in the service directory is its child, even if the clock has been set since.
	child := startAs(t, os.Geteuid(), os.Getegid())
	stale := runitStatus(t, child.PID, 1)
	copy(stale, stranger[:12])
	dir = directoryWith(t, stale, "ok", true)
	if found, err := find(dir); err != nil || found != child {
		t.Errorf("a parent in the directory: %v, %v", found, err)
	}
	// Containers that were started together have processes with the same pid and start time.
	dir = directoryWith(t, runitStatus(t, child.PID, 1), "ok", true)
	t.Chdir("/")
	if found, err := find(dir); err == nil {
		t.Errorf("a parent elsewhere: %v", found)
	}
	must(t, os.Mkdir(filepath.Join(dir, "log"), 0o755), os.Rename(filepath.Join(dir, "supervise"), filepath.Join(dir, "log", "supervise")))
	t.Chdir(dir)
	if found, err := find(filepath.Join(dir, "log")); err != nil || found != child {
		t.Errorf("the service's log: %v, %v", found, err)
	}
}
