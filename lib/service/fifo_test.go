package service

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openFIFOIn(t *testing.T, d *Dir, gid int) int {
	t.Helper()
	fd, err := d.OpenFIFO("fifo", gid)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestAFIFOIsPrivateOrForItsGroup(t *testing.T) {
	for _, c := range []struct {
		umask  int
		exists bool // with another mode
		gid    int
		want   os.FileMode
	}{
		{0, false, -1, 0o600},
		{0o77, false, os.Getegid(), 0o620},
		{0, true, -1, 0o600},
	} {
		d := openDir(t, tempDir(t))
		old := unix.Umask(c.umask)
		if c.exists {
			must(t, unix.Mkfifo(d.file("fifo"), 0o666))
		}
		openFIFOIn(t, d, c.gid)
		unix.Umask(old)
		checkMode(t, d.file("fifo"), os.ModeNamedPipe|c.want)
	}
}

func TestAFIFOOutlivesItsWriters(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, unix.Mkfifo(d.file("fifo"), 0o600))
	first := make(chan error, 1)
	go func() { first <- os.WriteFile(d.file("fifo"), []byte("c"), 0) }() // blocks until somebody reads, as echo c >fifo does
	fd := openFIFOIn(t, d, -1)
	select {
	case err := <-first:
		must(t, err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the writer still waits")
	}
	for range 2 {
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
		must(t, os.WriteFile(d.file("fifo"), []byte("c"), 0))
	}
	_, err := d.OpenFIFO("fifo", -1)
	checkError(t, "a second reader", err, d.file("fifo")+": another process reads it")
}

func TestAnythingButAFIFOOfTheCallerIsRefusedAndNotTouched(t *testing.T) {
	for what, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a regular file":     {func(path string) error { return os.WriteFile(path, []byte("precious"), 0o640) }, "not a FIFO"},
		"a directory":        {func(path string) error { return os.Mkdir(path, 0o750) }, "not a FIFO"},
		"a link to a FIFO":   {func(path string) error { return errors.Join(unix.Mkfifo(path+"1", 0o640), os.Symlink("fifo1", path)) }, "not a FIFO"},
		"a link to nothing":  {func(path string) error { return os.Symlink("nothing", path) }, "not a FIFO"},
		"a link to a device": {func(path string) error { return os.Symlink("/dev/null", path) }, "not a FIFO"},
		"a hard link":        {func(path string) error { return errors.Join(unix.Mkfifo(path, 0o640), os.Link(path, path+"1")) }, "it has 2 hard links"},
		"another user's": {func(path string) error {
			return errors.Join(unix.Mkfifo(path, 0o640), os.Chown(path, nobody, nobody))
		}, "owned by uid 65534"},
	} {
		if what == "another user's" && !isRoot() {
			continue
		}
		d := openDir(t, tempDir(t))
		path := d.file("fifo")
		must(t, c.make(path))
		before, err := os.Lstat(path)
		must(t, err)
		entries, _ := os.ReadDir(d.String())
		_, err = d.OpenFIFO("fifo", -1)
		checkError(t, what, err, "cannot open "+path+": "+c.want)
		after, err := os.Lstat(path)
		must(t, err)
		if now, _ := os.ReadDir(d.String()); !reflect.DeepEqual(before, after) || len(now) != len(entries) {
			t.Errorf("%s was touched: %v, was %v; beside it: %v", what, after, before, now)
		}
	}
}
