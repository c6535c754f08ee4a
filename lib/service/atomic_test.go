package service

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// alone fails if something else than these is in a directory.
func alone(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("in the directory: %q, not %q", have, names)
	}
}

func TestAFileIsAnotherOneEachTimeItIsWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state")
	old := unix.Umask(0o77)
	defer unix.Umask(old)
	var before os.FileInfo
	for _, text := range []string{"one\n", "two, and longer\n", ""} {
		if err := WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFile(file, 100); err != nil || string(got) != text {
			t.Errorf("%q, %v, not %q", got, err, text)
		}
		if info.Mode() != 0o640 { // whatever the umask
			t.Errorf("%v", info.Mode())
		}
		if before != nil && os.SameFile(before, info) {
			t.Error("the old file was written over")
		}
		before = info
	}
	alone(t, dir, "state")
}

func TestAReaderFindsAFileWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	texts := [2][]byte{bytes.Repeat([]byte("a"), 10000), bytes.Repeat([]byte("b"), 30000)}
	if err := WriteFile(file, texts[0], 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for i := range 300 {
			if err := WriteFile(file, texts[i%2], 0o600); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		text, err := ReadFile(file, 1<<20)
		if err != nil || !bytes.Equal(text, texts[0]) && !bytes.Equal(text, texts[1]) {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func TestALinkIsReplacedAndNotFollowed(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "state"), filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, file); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(file, 100); !errors.Is(err, unix.ELOOP) {
		t.Errorf("read through a link: %v", err)
	}
	if err := WriteFile(file, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
	if text, _ := os.ReadFile(other); string(text) != "precious" {
		t.Errorf("behind the link: %q", text)
	}
}

func TestWhatIsNoFileIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	fifo, null := filepath.Join(dir, "fifo"), filepath.Join(dir, "null")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", null); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{fifo, null, dir} {
		if err := WriteFile(file, []byte("new"), 0o600); err == nil || !strings.HasPrefix(err.Error(), file+": no regular file") {
			t.Errorf("written: %v", err)
		}
		if text, err := ReadFile(file, 100); err == nil {
			t.Errorf("%s: read %q", file, text)
		}
	}
	alone(t, dir, "fifo", "null")
}

func TestAFileThatCannotBeWrittenIsNamedAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "missing", "state")
	err := WriteFile(file, nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "gracekit-") || !strings.HasPrefix(err.Error(), file+": ") {
		t.Errorf("%v", err)
	}
	alone(t, dir)
	if _, err := ReadFile(file, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestAFullDiskLeavesTheOldFileAlone(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("no tmpfs may be mounted: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	file := filepath.Join(dir, "state")
	if err := WriteFile(file, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(file, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	} else if strings.Contains(err.Error(), "gracekit-") || !strings.HasPrefix(err.Error(), file+": ") {
		t.Errorf("it is not the file that is named: %v", err)
	}
	if text, err := ReadFile(file, 100); err != nil || string(text) != "old\n" {
		t.Errorf("%q, %v", text, err)
	}
	alone(t, dir, "state")
}

func TestAnothersFileIsNotRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state")
	if err := WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadFile(file, 5); err != nil || string(text) != "12345" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadFile(file, 4); err == nil || err.Error() != file+": longer than 4 bytes" {
		t.Errorf("%v", err)
	}
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if text, err := ReadFile(file, 100); err == nil {
			t.Errorf("mode %o: read %q", mode, text)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(file, 100); err == nil || err.Error() != file+": it belongs to user 65534" {
		t.Errorf("%v", err)
	}
}

func TestAnIdentityFileIsALine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "id")
	if err := WriteID(file, proc.ID{PID: 1234, Start: 5678901}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "1234:5678901\n" {
		t.Errorf("%q", text)
	}
}
