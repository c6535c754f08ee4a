package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tryFIFO opens a FIFO by its path.
func tryFIFO(path string, gid int) (int, error) {
	d, name, err := OpenParent(path)
	if err != nil {
		return -1, err
	}
	defer d.Close()
	return d.OpenFIFO(name, gid)
}

func mustOpenFIFO(t *testing.T, path string, gid int) int {
	t.Helper()
	fd, err := tryFIFO(path, gid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestAFIFOIsPrivate(t *testing.T) {
	for _, mask := range []int{0, 0o22, 0o777} {
		path := filepath.Join(tempDir(t), "fifo")
		old := unix.Umask(mask)
		mustOpenFIFO(t, path, -1)
		unix.Umask(old)
		if got := mode(t, path); got != os.ModeNamedPipe|0o600 {
			t.Errorf("umask %o: %v", mask, got)
		}
	}
}

func TestAGroupMayWriteAFIFO(t *testing.T) {
	path := filepath.Join(tempDir(t), "fifo")
	mustOpenFIFO(t, path, os.Getegid())
	if got := mode(t, path); got != os.ModeNamedPipe|0o620 {
		t.Errorf("%v", got)
	}
}

func TestAnExistingFIFOIsUsedAndItsModeSet(t *testing.T) {
	path := filepath.Join(tempDir(t), "fifo")
	if err := unix.Mkfifo(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	mustOpenFIFO(t, path, -1)
	if got := mode(t, path); got != os.ModeNamedPipe|0o600 {
		t.Errorf("%v", got)
	}
}

func TestAFIFOOutlivesItsWriters(t *testing.T) {
	path := filepath.Join(tempDir(t), "fifo")
	fd := mustOpenFIFO(t, path, -1)
	for range 3 {
		w, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString("c"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		buf := make([]byte, 8)
		if n, err := unix.Read(fd, buf); err != nil || string(buf[:n]) != "c" {
			t.Errorf("read %q, %v", buf[:max(n, 0)], err)
		}
		if n, err := unix.Read(fd, buf); err != unix.EAGAIN { // and not the end of the file
			t.Errorf("with no writer: %d, %v", n, err)
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 0); n != 0 { // no POLLHUP: the loop would spin
			t.Errorf("with no writer: ready, %#x", fds[0].Revents)
		}
	}
}

func TestASecondReaderOfAFIFOIsRefused(t *testing.T) {
	path := filepath.Join(tempDir(t), "fifo")
	mustOpenFIFO(t, path, -1)
	if _, err := tryFIFO(path, -1); err == nil || !strings.Contains(err.Error(), path+": another process reads it") {
		t.Errorf("%v", err)
	}
}

func TestAnythingButAFIFOIsRefusedAndNotTouched(t *testing.T) {
	dir := tempDir(t)
	own := filepath.Join(dir, "own")
	if err := errors.Join(unix.Mkfifo(own, 0o640), os.Chmod(own, 0o640)); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"regular file":      func(path string) error { return os.WriteFile(path, []byte("precious"), 0o640) },
		"directory":         func(path string) error { return os.Mkdir(path, 0o750) },
		"link to a FIFO":    func(path string) error { return os.Symlink(own, path) },
		"link to nothing":   func(path string) error { return os.Symlink(filepath.Join(dir, "nothing"), path) },
		"link to the null":  func(path string) error { return os.Symlink("/dev/null", path) },
		"socket":            bindSocket,
		"nothing, and no .": func(string) error { return nil },
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if strings.HasPrefix(name, "nothing") {
			path = filepath.Join(dir, "missing", "fifo")
		}
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		fd, err := tryFIFO(path, -1)
		if err == nil {
			unix.Close(fd)
			t.Errorf("%s was opened", name)
			continue
		}
		if strings.Count(err.Error(), filepath.Base(path))+strings.Count(err.Error(), "missing") != 1 {
			t.Errorf("%s: the path is not named once: %v", name, err)
		}
		if after, _ := os.Lstat(path); before != nil && (after.Mode() != before.Mode() || after.ModTime() != before.ModTime() || !os.SameFile(before, after)) {
			t.Errorf("%s was touched: %v, was %v", name, after, before)
		}
	}
	if got := mode(t, own); got != os.ModeNamedPipe|0o640 {
		t.Errorf("behind a link: %v", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made behind a link: %v", err)
	}
}

func bindSocket(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dir, err := os.Open(filepath.Dir(path)) // the path of a socket is short
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))})
}

func TestAFIFOOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a FIFO away")
	}
	path := filepath.Join(tempDir(t), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := tryFIFO(path, -1); err == nil || err.Error() != "cannot open "+path+": owned by uid 65534" {
		t.Errorf("%v", err)
	}
	if got := mode(t, path); got != os.ModeNamedPipe|0o600 {
		t.Errorf("touched: %v", got)
	}
}

func TestAWriterNeverBlocksAReaderThatOpens(t *testing.T) {
	path := filepath.Join(tempDir(t), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { // blocks until somebody reads, as echo c >fifo does
		written <- os.WriteFile(path, []byte("c\n"), 0)
	}()
	fd := mustOpenFIFO(t, path, -1)
	select {
	case err := <-written:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the writer still waits")
	}
	buf := make([]byte, 8)
	if n, err := unix.Read(fd, buf); err != nil || string(buf[:n]) != "c\n" {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
}
