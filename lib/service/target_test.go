package service

import (
	"bytes"
	_ "embed"
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

func TestWordsThatCannotBeATargetAreNamed(t *testing.T) {
	for _, text := range []string{"", "0", "-1", "+5", "00", "4194305", "99999999999999999999", "1:", ":1", "0:5", "1:2:3", "-"} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// self is this process, as it is now.
func self(t *testing.T) proc.ID {
	p, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.ID
}

// find is who a target is.
func find(text string) (proc.ID, error) {
	target, err := Parse(text)
	if err != nil {
		return proc.ID{}, err
	}
	p, err := target.Open()
	if err != nil {
		return proc.ID{}, err
	}
	defer p.Close()
	return p.ID, nil
}

func file(t *testing.T, text string, mode os.FileMode) string {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// idFile is an identity file of this boot.
func idFile(t *testing.T, id proc.ID) string {
	t.Helper()
	d := openDir(t, tempDir(t))
	must(t, WriteID(d, "pgid", id))
	return d.file("pgid")
}

func TestAProcessIsFoundInEachWay(t *testing.T) {
	id := self(t)
	for _, text := range []string{
		fmt.Sprint(id.PID),
		id.String(),
		file(t, fmt.Sprintln(id.PID), 0o644),
		file(t, fmt.Sprint(id.PID), 0o600),
		file(t, fmt.Sprintf(" %d \r\n", id.PID), 0o644),
		idFile(t, id),
	} {
		if found, err := find(text); err != nil || found != id {
			t.Errorf("%s: %v, %v; want %v", text, found, err, id)
		}
	}
}

func TestAPidfileIsRefused(t *testing.T) {
	own := fmt.Sprintln(os.Getpid())
	link := filepath.Join(t.TempDir(), "link")
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := errors.Join(os.Symlink("missing", link), unix.Mkfifo(fifo, 0o644)); err != nil {
		t.Fatal(err)
	}
	for why, name := range map[string]string{
		"that is world-writable": file(t, own, 0o646),
		"of garbage":             file(t, "sidekiq\n", 0o644),
		"with pid 0":             file(t, "0\n", 0o644),
		"with a group":           file(t, "-"+own, 0o644),
		"with two pids":          file(t, own+own, 0o644),
		"with a NUL":             file(t, "12\x00", 0o644),
		"that is too long":       file(t, strings.Repeat(" ", 200)+own, 0o644),
		"that is a link to none": link,
		"that is a FIFO":         fifo,
		"that is a device":       "/dev/null",
		"that isn't there":       link + "x",
		"in no directory":        file(t, own, 0o644) + "/x",
	} {
		id, err := find(name)
		if err == nil || errors.Is(err, proc.ErrGone) || !strings.HasPrefix(err.Error(), "cannot use "+name+": ") {
			t.Errorf("a pidfile %s: %v, %v", why, id, err)
		}
	}
}

func TestAPidfileOfAnotherUserIsRefusedByRoot(t *testing.T) {
	asRoot(t)
	id := self(t)
	gone := proc.ID{PID: id.PID, Start: id.Start + 1}
	for _, name := range []string{file(t, fmt.Sprint(id.PID), 0o644), idFile(t, id), idFile(t, gone)} {
		if err := os.Chown(name, nobody, 0); err != nil {
			t.Fatal(err)
		}
		if found, err := find(name); err == nil || errors.Is(err, proc.ErrGone) {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	name := file(t, fmt.Sprint(cmd.Process.Pid), 0o644)
	if err := os.Chown(name, nobody, 0); err != nil {
		t.Fatal(err)
	}
	if found, err := find(name); err != nil || found.PID != cmd.Process.Pid {
		t.Errorf("of the user's own process: %v, %v", found, err)
	}
}

func TestAPlainPIDIsStaleWhenItsProcessIsYoungerThanTheFile(t *testing.T) {
	name := file(t, fmt.Sprint(os.Getpid()), 0o644)
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, before, before); err != nil {
		t.Fatal(err)
	}
	_, err := find(name)
	if !errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), "stale") {
		t.Errorf("%v", err)
	}
	name = idFile(t, self(t))
	if err := os.Chtimes(name, before, before); err != nil {
		t.Fatal(err)
	}
	if _, err := find(name); err != nil {
		t.Errorf("an identity is never stale: %v", err)
	}
}

func TestATargetThatIsGoneTellsWhoItWas(t *testing.T) {
	id := self(t)
	id.Start++
	for _, text := range []string{id.String(), idFile(t, id)} {
		_, err := find(text)
		var gone *GoneError
		if !errors.As(err, &gone) || gone.ID != id {
			t.Errorf("%s: %#v", text, err)
		}
	}
}

// directoryWith makes a service directory whose supervise has that status, and
// that FIFO; held: the test plays its supervisor, which reads the FIFO and works in the directory.
func directoryWith(t *testing.T, status []byte, fifo string, held bool) string {
	dir := tempDir(t)
	supervise := filepath.Join(dir, "supervise")
	err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(supervise, 0o700),
		os.WriteFile(filepath.Join(supervise, "status"), status, 0o644), unix.Mkfifo(filepath.Join(supervise, fifo), 0o600))
	if held {
		fd, errOpen := unix.Open(filepath.Join(supervise, fifo), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		err = errors.Join(err, errOpen)
		t.Cleanup(func() { unix.Close(fd) })
		t.Chdir(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

//go:embed testdata/runit-2.1.2-run.status
var statusOfRunit []byte

// runitStatus is the sample of a running service, with another pid and state.
func runitStatus(t *testing.T, pid int, state byte) []byte {
	text := bytes.Clone(statusOfRunit)
	text[12], text[13], text[14], text[19] = byte(pid), byte(pid>>8), byte(pid>>16), state
	if p, err := proc.Open(pid); err == nil { // as its supervisor stamps it
		binary.BigEndian.PutUint64(text, uint64(started(p.ID).Unix()+10+1<<62))
		p.Close()
	}
	return text
}

func TestAServiceDirectoryAnswersOnlyWithASupervisor(t *testing.T) {
	id := startAs(t, os.Geteuid(), os.Getegid())
	running := runitStatus(t, id.PID, 1)
	if found, err := find(directoryWith(t, running, "ok", true)); err != nil || found != id {
		t.Errorf("supervised: %v, %v", found, err)
	}
	if _, err := find(directoryWith(t, running, "ok", false)); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("not supervised: %v", err)
	}
	for _, c := range []struct {
		pid   int
		state byte
	}{{0, 0}, {id.PID, 2}, {0, 2}} { // down; in ./finish; about to start it
		if _, err := find(directoryWith(t, runitStatus(t, c.pid, c.state), "ok", true)); !errors.Is(err, proc.ErrGone) {
			t.Errorf("pid %d, state %d: %v", c.pid, c.state, err)
		}
	}
}

func TestLinksToAServiceDirectoryAreFollowedAndChecked(t *testing.T) {
	id := startAs(t, os.Geteuid(), os.Getegid())
	dir := directoryWith(t, runitStatus(t, id.PID, 1), "ok", true)
	elsewhere := tempDir(t)
	link := filepath.Join(tempDir(t), "service")
	err := errors.Join(os.Rename(filepath.Join(dir, "supervise"), filepath.Join(elsewhere, "supervise")),
		os.Symlink(filepath.Join(elsewhere, "supervise"), filepath.Join(dir, "supervise")), os.Symlink(dir, link))
	if err != nil {
		t.Fatal(err)
	}
	if found, err := find(link); err != nil || found != id {
		t.Errorf("%v, %v", found, err)
	}
	for _, open := range []string{dir, filepath.Join(elsewhere, "supervise"), filepath.Join(elsewhere, "supervise/status")} {
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
		if found, err := find(link); err == nil || !strings.Contains(err.Error(), "world-writable") {
			t.Errorf("%s is world-writable: %v, %v", open, found, err)
		}
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	for _, foreign := range []string{dir, filepath.Join(elsewhere, "supervise")} {
		if err := os.Chown(foreign, 65534, 0); err != nil {
			t.Fatal(err)
		}
		// In a directory of the user the link to supervise could be the user's, too.
		if found, err := find(link); err == nil || !strings.Contains(err.Error(), "owned by uid 65534") {
			t.Errorf("%s of another user: %v, %v", foreign, found, err)
		}
		if err := os.Chown(foreign, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// Otherwise anybody who can write a directory in which root expects a pidfile could choose the service that root signals.
func TestALinkOfAnotherUserToAServiceDirectoryIsRefusedByRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("for root alone")
	}
	id := startAs(t, os.Geteuid(), os.Getegid())
	link := filepath.Join(t.TempDir(), "sidekiq.pid")
	if err := os.Symlink(directoryWith(t, runitStatus(t, id.PID, 1), "ok", true), link); err != nil {
		t.Fatal(err)
	}
	if found, err := find(link); err != nil || found != id {
		t.Errorf("root's: %v, %v", found, err)
	}
	if err := os.Lchown(link, 65534, 0); err != nil {
		t.Fatal(err)
	}
	if found, err := find(link); err == nil || errors.Is(err, proc.ErrGone) || !strings.Contains(err.Error(), link+" is owned by uid 65534") {
		t.Errorf("another user's: %v, %v", found, err)
	}
}

// A supervisor writes its status right after its FIFOs, or never, where the disk is full: then a watcher must not take the
// service for one that is down.
func TestAStatusThatIsNotThereIsWaitedFor(t *testing.T) {
	for _, held := range []bool{true, false} {
		dir := directoryWith(t, nil, "control", held)
		if err := os.Remove(filepath.Join(dir, "supervise", "status")); err != nil {
			t.Fatal(err)
		}
		if _, err := find(dir); err == nil || errors.Is(err, proc.ErrGone) || errors.Is(err, ErrUnsupervised) != held {
			t.Errorf("a supervisor: %v, and the answer is %v", held, err)
		}
	}
	dir := directoryWith(t, nil, "control", true)
	status := filepath.Join(dir, "supervise", "status")
	if err := os.Rename(status, status+".new"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(settleTime/10, func() { os.Rename(status+".new", status) })
	if _, err := find(dir); err == nil || errors.Is(err, ErrUnsupervised) {
		t.Errorf("written late: %v", err)
	}
}

func TestADirectoryThatIsNoServiceIsRefused(t *testing.T) {
	if _, err := find(t.TempDir()); err == nil || errors.Is(err, proc.ErrGone) {
		t.Errorf("%v", err)
	}
}

func FuzzPidfile(f *testing.F) {
	for _, s := range []string{"1234\n", "1234:5678\n", "", "0", "-1", "12 13", "1:2:3", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		pid, id, err := parsePidfile(text)
		if err == nil && (pid != 0) == (id != proc.ID{}) {
			t.Errorf("%q is pid %d and identity %v", text, pid, id)
		}
		if err == nil && (pid+id.PID < 1 || pid+id.PID > proc.PIDMax) {
			t.Errorf("%q is pid %d, identity %v", text, pid, id)
		}
	})
}
