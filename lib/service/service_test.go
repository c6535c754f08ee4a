package service

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

const nobody = 65534

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// checkError fails unless the error contains want; an empty want is no error.
func checkError(t *testing.T, what any, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%v: %v; want %q", what, err, want)
	}
}

// checkFound fails unless a target is that process.
func checkFound(t *testing.T, target string, want proc.ID) {
	t.Helper()
	if found, err := find(target); err != nil || found != want {
		t.Errorf("%s: %v, %v; want %v", target, found, err, want)
	}
}

// checkRefused fails unless a target is refused so. It is not gone then: nothing is known of its process.
func checkRefused(t *testing.T, target, want string) {
	t.Helper()
	found, err := find(target)
	if err == nil || errors.Is(err, proc.ErrGone) || !strings.HasPrefix(err.Error(), "cannot use "+target+": ") || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, %v; want %q", target, found, err, want)
	}
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

func parse(t *testing.T, text string) Target {
	t.Helper()
	target, err := Parse(text)
	must(t, err)
	return target
}

// identity is that of the process with a pid now.
func identity(t *testing.T, pid int) proc.ID {
	t.Helper()
	p, err := proc.Open(pid)
	must(t, err)
	defer p.Close()
	return p.ID
}

func self(t *testing.T) proc.ID { return identity(t, os.Getpid()) }

// startAs starts a process of a user.
func startAs(t *testing.T, uid, gid int) proc.ID {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: os.Geteuid() != 0}}
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return identity(t, cmd.Process.Pid)
}

func startProcess(t *testing.T) proc.ID { return startAs(t, os.Geteuid(), os.Getegid()) }

// tempDir is a directory that root and the caller alone can write, whatever the umask.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

// checkEntries fails if something else than these is in a directory.
func checkEntries(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("in the directory: %q, not %q", have, names)
	}
}

// checkText fails unless a file has this text, whatever leads to it.
func checkText(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("%s: %q, %v; want %q", path, text, err, want)
	}
}

// checkMode fails unless a file, and not what it links to, has this type and mode.
func checkMode(t *testing.T, path string, want os.FileMode) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != want {
		t.Errorf("%s: %v, want %v", path, info.Mode(), want)
	}
	return info
}

// file is a new file with this text.
func file(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(tempDir(t), "file")
	must(t, os.WriteFile(name, []byte(text), 0o600), os.Chmod(name, mode))
	return name
}

// idFile is an identity file of this boot.
func idFile(t *testing.T, id proc.ID) string {
	t.Helper()
	d := openDir(t, tempDir(t))
	must(t, WriteID(d, "pgid", id))
	return d.file("pgid")
}

// serviceDir makes a service directory with that supervise/status, and no supervisor.
func serviceDir(t *testing.T, status []byte) string {
	t.Helper()
	dir := tempDir(t)
	supervise := filepath.Join(dir, "supervise")
	must(t, os.Mkdir(supervise, 0o700), os.WriteFile(filepath.Join(supervise, "status"), status, 0o644),
		unix.Mkfifo(filepath.Join(supervise, "ok"), 0o600), unix.Mkfifo(filepath.Join(supervise, "control"), 0o600))
	return dir
}

// supervised is a service directory whose supervisor is the test: it reads the FIFOs and works in the directory.
func supervised(t *testing.T, status []byte) string {
	t.Helper()
	dir := serviceDir(t, status)
	for _, fifo := range []string{"ok", "control"} {
		fd, err := unix.Open(filepath.Join(dir, "supervise", fifo), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
	}
	t.Chdir(dir)
	return dir
}

//go:embed testdata/running/runit-2.1.2-run.status
var statusOfRunit []byte

// runitStatus is the sample of a running service, with another pid and phase, stamped as its supervisor does.
func runitStatus(t *testing.T, pid int, phase phase) []byte {
	t.Helper()
	text := bytes.Clone(statusOfRunit)
	binary.LittleEndian.PutUint32(text[12:], uint32(pid))
	text[19] = byte(phase)
	if p, err := proc.Open(pid); err == nil {
		setStamp(text, started(p.ID).Unix())
		p.Close()
	}
	return text
}

// setStamp writes the time, in seconds since 1970, into a status of runit.
func setStamp(text []byte, seconds int64) {
	binary.BigEndian.PutUint64(text, uint64(seconds+10+1<<62))
}
