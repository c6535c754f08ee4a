package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// give has a service directory owned by a user, with all that is in it.
func give(t *testing.T, dir string, uid, gid int) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, gid))
	}))
}

func TestAServiceDirectoryAnswersOnlyWithASupervisor(t *testing.T) {
	id := startProcess(t)
	checkFound(t, supervised(t, runitStatus(t, id.PID, running)), id)
	checkRefused(t, serviceDir(t, runitStatus(t, id.PID, running)), "no runsv or s6-supervise is running for it: its status is stale")
	for _, c := range []struct {
		pid   int
		phase phase
		want  string
	}{
		{0, down, "the service is down"},
		{id.PID, finishing, "the service is in ./finish"},
		{0, finishing, "the service is in ./finish"}, // about to start it
	} {
		_, err := find(supervised(t, runitStatus(t, c.pid, c.phase)))
		checkError(t, c, err, c.want)
		if !errors.Is(err, proc.ErrGone) {
			t.Errorf("%+v: it is refused: %v", c, err)
		}
	}
}

// A supervisor makes supervise, its FIFOs and then its status, or never the last, where the disk is full: a watcher must take
// the service neither for one that is down, nor for one that cannot come.
func TestAStatusThatIsNotThereIsWaitedFor(t *testing.T) {
	for dir, want := range map[string]error{serviceDir(t, nil): errNotStarted, supervised(t, nil): errNoStatus} {
		must(t, os.Remove(filepath.Join(dir, "supervise", "status")))
		if _, err := find(dir); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	status := filepath.Join(supervised(t, nil), "supervise", "status")
	must(t, os.Rename(status, status+".new"))
	time.AfterFunc(settleTime/10, func() { os.Rename(status+".new", status) })
	checkRefused(t, filepath.Dir(filepath.Dir(status)), "invalid supervise/status of 0 bytes")
}

func TestLinksToAServiceDirectoryAreFollowedAndChecked(t *testing.T) {
	id := startProcess(t)
	dir, link := supervised(t, runitStatus(t, id.PID, running)), filepath.Join(tempDir(t), "service")
	supervise := filepath.Join(tempDir(t), "supervise") // as in Debian, where it is in /run
	must(t, os.Rename(filepath.Join(dir, "supervise"), supervise), os.Symlink(supervise, filepath.Join(dir, "supervise")), os.Symlink(dir, link))
	checkFound(t, link, id)
	for _, path := range []string{dir, supervise, filepath.Join(supervise, "status")} {
		must(t, os.Chmod(path, 0o777))
		checkRefused(t, link, "world-writable")
		must(t, os.Chmod(path, 0o755))
	}
	asRoot(t)
	must(t, os.Chown(dir, nobody, 0)) // the link to supervise could be the user's, too
	checkRefused(t, link, "owned by uid 65534")
	must(t, os.Chown(dir, 0, 0))
	// Anybody who can write a directory in which root expects a pidfile could choose the service that root signals.
	must(t, os.Lchown(link, nobody, 0))
	checkRefused(t, link, link+" is owned by uid 65534")
}

// The owner of a service directory replaces supervise by a link while root watches.
func TestASuperviseThatItsOwnerReplacesByALinkIsNotFollowed(t *testing.T) {
	asRoot(t)
	id := startAs(t, nobody, nobody)
	dir, elsewhere := supervised(t, runitStatus(t, id.PID, running)), tempDir(t)
	give(t, dir, nobody, nobody)
	d, err := parse(t, dir).OpenSupervise()
	must(t, err)
	defer d.Close()

	supervise, moved := filepath.Join(dir, "supervise"), filepath.Join(dir, "moved")
	must(t, os.Rename(supervise, moved), os.Symlink(elsewhere, supervise), os.Lchown(supervise, nobody, nobody))
	must(t, d.WriteFile("gracewatch", []byte("what is open stays open"), 0o600))
	checkText(t, filepath.Join(moved, "gracewatch"), "what is open stays open")

	const want = "cannot follow the symbolic link supervise: its directory is owned by uid 65534"
	checkRefused(t, dir, want)
	_, err = parse(t, dir).OpenSupervise()
	checkError(t, "to write in it", err, want)
	_, err = parse(t, dir).WantedState()
	checkError(t, "what is wanted", err, want)
	checkEntries(t, elsewhere)
}

func TestRootUsesOnlyWhatRootOrTheUserOfTheProcessCanWrite(t *testing.T) {
	asRoot(t)
	const uid, gid, other = 12345, 12346, 12347
	id := startAs(t, uid, gid)
	pidfile, dir := file(t, fmt.Sprint(id.PID), 0o644), supervised(t, runitStatus(t, id.PID, running))
	for path, target := range map[string]string{
		pidfile:                         pidfile,
		dir:                             dir,
		filepath.Join(dir, "supervise"): dir,
		filepath.Join(dir, "supervise", "status"): dir,
	} {
		for _, c := range []struct {
			uid, gid int
			mode     os.FileMode
			want     string
		}{
			{0, 0, 0o755, ""},
			{0, gid, 0o775, ""},
			{uid, gid, 0o775, ""}, // Capistrano's deploy:deploy
			{uid, other, 0o755, ""},
			{uid, other, 0o775, "group-writable by gid 12347"},
			{other, gid, 0o755, "owned by uid 12347"},
			{uid, gid, 0o757, "world-writable"},
			{0, 0, 0o757 | os.ModeSticky, "world-writable"},
		} {
			must(t, os.Chown(path, c.uid, c.gid), os.Chmod(path, c.mode))
			if c.want == "" {
				checkFound(t, target, id)
			} else {
				checkRefused(t, target, c.want)
			}
		}
		must(t, os.Chown(path, 0, 0), os.Chmod(path, 0o755))
	}
}

// While there is no process, the owner of a service directory owns its supervise, too.
func TestASuperviseIsOpenedWhileTheServiceIsDown(t *testing.T) {
	asRoot(t)
	dir := supervised(t, runitStatus(t, 0, down))
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
		checkError(t, c, err, c.want)
		if err == nil {
			d.Close()
		}
	}
	must(t, os.Chown(filepath.Join(dir, "supervise"), nobody, 0), os.Chmod(filepath.Join(dir, "supervise", "status"), 0o646))
	_, err := parse(t, dir).OpenSupervise()
	checkError(t, "its status", err, "supervise/status is world-writable")
}

func TestAFileOfTheServicesUserIsReadButNotForTheWatchersOwnState(t *testing.T) {
	asRoot(t)
	id := startAs(t, nobody, nobody)
	dir := supervised(t, runitStatus(t, id.PID, running))
	timeout := filepath.Join(dir, "conf", "SIDEKIQ_TIMEOUT")
	must(t, os.Mkdir(filepath.Dir(timeout), 0o755), os.WriteFile(timeout, []byte("60\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "supervise", "gracewatch"), nil, 0o644))
	give(t, dir, nobody, nobody)
	conf, err := parse(t, dir).OpenService("conf")
	must(t, err)
	defer conf.Close()
	if text, err := conf.ReadFile("SIDEKIQ_TIMEOUT", 100); err != nil || string(text) != "60\n" {
		t.Errorf("%q, %v", text, err)
	}
	must(t, os.Chown(timeout, 12345, 0))
	_, err = conf.ReadFile("SIDEKIQ_TIMEOUT", 100)
	checkError(t, "a file of another user", err, "owned by uid 12345")

	supervise, err := parse(t, dir).OpenSupervise()
	must(t, err)
	defer supervise.Close()
	_, err = supervise.ReadFile("gracewatch", 100)
	checkError(t, "the watcher's state", err, "owned by uid 65534")
}

func TestAnythingButAStatusFileIsRefused(t *testing.T) {
	write := func(text []byte) func(path string) error {
		return func(path string) error { return os.WriteFile(path, text, 0o644) }
	}
	for what, c := range map[string]struct {
		name string
		make func(path string) error // nil: a link to it
		want string
	}{
		"a FIFO":              {"status", func(path string) error { return unix.Mkfifo(path, 0o644) }, "not a regular file"},
		"a directory":         {"status", func(path string) error { return os.Mkdir(path, 0o755) }, "not a regular file"},
		"a long file":         {"status", write(make([]byte, 100)), "invalid supervise/status"},
		"a link":              {"status", nil, "it is a symbolic link"},
		"a file for the FIFO": {"ok", write(nil), "supervise/ok is not a FIFO"},
		"a link to the FIFO":  {"ok", nil, "cannot open supervise/ok"},
	} {
		dir := supervised(t, runitStatus(t, os.Getpid(), running))
		path := filepath.Join(dir, "supervise", c.name)
		if c.make == nil {
			must(t, os.Rename(path, path+".real"), os.Symlink(c.name+".real", path))
		} else {
			must(t, os.Remove(path), c.make(path))
		}
		_, err := find(dir)
		checkError(t, what, err, c.want)
		if errors.Is(err, proc.ErrGone) {
			t.Errorf("%s is not refused: %v", what, err)
		}
	}
}

// A status can name a pid of another pid namespace, which is any process here, or none.
func TestOnlyAChildOfTheSupervisorIsItsProcess(t *testing.T) {
	id := self(t)
	stranger := runitStatus(t, id.PID, running)
	setStamp(stranger, time.Now().Add(-time.Hour).Unix())
	checkRefused(t, supervised(t, stranger), id.String()+", which is not a child of the service's supervisor")
	checkRefused(t, supervised(t, runitStatus(t, proc.PIDMax, running)), "there is no such process here")

	// A process whose parent is in the service directory is its child, even if the clock has been set since.
	child := startProcess(t)
	stale := runitStatus(t, child.PID, running)
	setStamp(stale, time.Now().Add(-time.Hour).Unix())
	checkFound(t, supervised(t, stale), child)
	// Containers that were started together have processes with the same pid and start time.
	dir := supervised(t, runitStatus(t, child.PID, running))
	t.Chdir("/")
	checkRefused(t, dir, "which is not a child of the service's supervisor")
	// The supervisor of a log works in the directory of the service.
	log := filepath.Join(dir, "log")
	must(t, os.Mkdir(log, 0o755), os.Rename(filepath.Join(dir, "supervise"), filepath.Join(log, "supervise")))
	t.Chdir(dir)
	checkFound(t, log, child)
}
