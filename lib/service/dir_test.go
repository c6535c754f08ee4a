package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

func TestTheRuleOfTrust(t *testing.T) {
	users := []user{{0, 0}, {12345, 12346}}
	for _, c := range []struct {
		mode     uint32
		uid, gid uint32
		want     string
	}{
		{0o755, 0, 99, ""},
		{0o755, 12345, 99, ""},
		{0o775, 0, 0, ""},
		{0o775, 12345, 12346, ""},
		{0o775, 12345, 0, ""},
		{0o600, 99, 0, "owned by uid 99"},
		{0o775, 0, 99, "group-writable by gid 99 (mode 0775)"},
		{0o757, 0, 0, "world-writable (mode 0757)"},
		{0o1777, 0, 0, "world-writable (mode 1777)"},
	} {
		err := checkTrust(&unix.Stat_t{Mode: unix.S_IFREG | c.mode, Uid: c.uid, Gid: c.gid}, users...)
		checkError(t, c, err, c.want)
	}
}

func TestAFileThatOthersCanWriteIsNotOpened(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, d.WriteFile("state", []byte("old"), 0o646))
	_, errRead := d.ReadFile("state", 100)
	_, errLinked := d.ReadLinked("state", 100)
	_, errLock := d.OpenLock("state")
	_, errOpen := d.OpenFile("state", unix.O_WRONLY|unix.O_TRUNC, 0) // is checked before it is truncated
	for _, err := range []error{errRead, errLinked, errLock, errOpen} {
		checkError(t, "world-writable", err, d.file("state")+": world-writable (mode 0646)")
	}
	checkText(t, d.file("state"), "old")

	must(t, os.Chmod(d.file("state"), 0o664)) // by the caller's own group
	f, err := d.OpenFile("state", unix.O_WRONLY|unix.O_TRUNC, 0)
	must(t, err)
	f.Close()
	checkText(t, d.file("state"), "")
	asRoot(t)
	must(t, os.Chown(d.file("state"), nobody, 0))
	_, err = d.ReadFile("state", 100)
	checkError(t, "of another user", err, d.file("state")+": owned by uid 65534")
}

func TestADirectoryThatOthersCanWriteIsRefused(t *testing.T) {
	dir := tempDir(t)
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	openDir(t, dir) // nobody else can replace a file in it
	must(t, os.Chmod(dir, 0o777))
	_, err := OpenDir(dir)
	checkError(t, dir, err, "cannot use "+dir+": world-writable (mode 0777)")
	asRoot(t)
	must(t, os.Chmod(dir, 0o755), os.Chown(dir, nobody, 0))
	_, err = OpenDir(dir)
	checkError(t, dir, err, "cannot use "+dir+": owned by uid 65534")
}

func TestAFileIsReplacedEachTimeItIsWritten(t *testing.T) {
	d := openDir(t, tempDir(t))
	old := unix.Umask(0o77)
	defer unix.Umask(old)
	var before os.FileInfo
	for _, text := range []string{"one\n", "two, and longer\n", ""} {
		must(t, d.WriteFile("state", []byte(text), 0o640))
		checkText(t, d.file("state"), text)
		info := checkMode(t, d.file("state"), 0o640)
		if os.SameFile(before, info) {
			t.Errorf("%q was written over the old file", text)
		}
		before = info
	}
	checkEntries(t, d.String(), "state")
}

func TestAReaderFindsAFileWhole(t *testing.T) {
	d := openDir(t, tempDir(t))
	texts := [2][]byte{bytes.Repeat([]byte("a"), 10000), bytes.Repeat([]byte("b"), 30000)}
	must(t, d.WriteFile("state", texts[0], 0o600))
	done := make(chan error)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			err = d.WriteFile("state", texts[i%2], 0o600)
		}
		done <- err
	}()
	for {
		text, err := d.ReadFile("state", 1<<20)
		if err != nil || !bytes.Equal(text, texts[0]) && !bytes.Equal(text, texts[1]) {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		select {
		case err := <-done:
			must(t, err)
			return
		default:
		}
	}
}

func TestAFileIsNoLongerThanItsReaderExpects(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, d.WriteFile("state", []byte("12345"), 0o600))
	_, err := d.ReadFile("state", 5)
	must(t, err)
	_, err = d.ReadFile("state", 4)
	checkError(t, "5 bytes", err, "cannot read "+d.file("state")+": longer than 4 bytes")
}

// Settings may be links, of root or of the caller: the owner of a directory has not chosen what root reads.
func TestReadLinked(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, os.Mkdir(d.file("sub"), 0o755), os.WriteFile(d.file("sub/value"), []byte("25"), 0o644), os.Symlink("sub", d.file("data")),
		os.Symlink("data/value", d.file("link")))
	text, err := d.ReadLinked("link", 100)
	if err != nil || string(text) != "25" {
		t.Errorf("%q, %v", text, err)
	}
	_, err = d.ReadLinked("data", 100)
	checkError(t, "a folder", err, "not a regular file")
	asRoot(t)
	must(t, os.Lchown(d.file("data"), nobody, nobody))
	_, err = d.ReadLinked("link", 100)
	checkError(t, "through a link of another user", err, "cannot follow the symbolic link data: it is owned by uid 65534")
	must(t, os.Lchown(d.file("data"), 0, 0), os.Chown(d.file("sub/value"), nobody, nobody))
	_, err = d.ReadLinked("link", 100)
	checkError(t, "a file of another user", err, "owned by uid 65534")
}

// What is written in place would be written there: a name in another directory can be the same file.
func TestAFileIsNotOpenedToWriteByALink(t *testing.T) {
	for what, c := range map[string]struct {
		link func(file, link string) error
		want string
	}{
		"symbolic": {os.Symlink, "it is a symbolic link"},
		"hard":     {os.Link, "it has 2 hard links"},
	} {
		d := openDir(t, tempDir(t))
		must(t, os.WriteFile(d.file("precious"), []byte("precious"), 0o644), c.link(d.file("precious"), d.file("state")))
		for _, flags := range []int{unix.O_RDWR, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND} {
			_, err := d.OpenFile("state", flags, 0o600)
			checkError(t, what, err, "cannot open "+d.file("state")+": "+c.want)
		}
		_, err := d.OpenLock("state")
		checkError(t, what, err, "cannot lock "+d.file("state")+": "+c.want)
		must(t, d.WriteFile("state", []byte("new"), 0o600)) // replaces it
		checkText(t, d.file("precious"), "precious")
		checkText(t, d.file("state"), "new")
	}
	d := openDir(t, tempDir(t))
	must(t, os.WriteFile(d.file("state"), nil, 0o600), os.Symlink("state", d.file("link")))
	_, err := d.ReadFile("link", 100)
	checkError(t, "to read", err, "it is a symbolic link")
}

func TestAnythingButARegularFileIsNotReplaced(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, unix.Mkfifo(d.file("fifo"), 0o600), os.Symlink("/dev/null", d.file("null")), os.Mkdir(d.file("sub"), 0o700))
	for _, name := range []string{"fifo", "null", "sub"} {
		checkError(t, name, d.WriteFile(name, []byte("new"), 0o600), "cannot write "+d.file(name)+": not a regular file")
		_, err := d.ReadFile(name, 100)
		checkError(t, name, err, "cannot read "+d.file(name))
	}
	checkEntries(t, d.String(), "fifo", "null", "sub")
}

func TestANameIsThatOfAnEntry(t *testing.T) {
	dir := tempDir(t)
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	d := openDir(t, filepath.Join(dir, "sub"))
	for _, name := range []string{"", ".", "..", "../file", "/etc/passwd", "a/b", "a\x00b"} {
		_, errRead := d.ReadFile(name, 1<<20)
		_, errFIFO := d.OpenFIFO(name, -1)
		_, errLock := d.OpenLock(name)
		for _, err := range []error{errRead, errFIFO, errLock, d.WriteFile(name, nil, 0o600), d.Remove(name)} {
			checkError(t, name, err, fmt.Sprintf("invalid file name %q", name))
		}
	}
	checkEntries(t, dir, "file", "sub")
}

func TestAFullDiskLeavesTheOldFile(t *testing.T) {
	dir := tempDir(t)
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16k,mode=755"); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	d := openDir(t, dir)
	must(t, d.WriteFile("state", []byte("old\n"), 0o600), d.WriteFile("pgid", []byte("1:2\n"), 0o600))
	err := d.WriteFile("state", make([]byte, 1<<20), 0o600)
	checkError(t, "state", err, "cannot write "+d.file("state")+": no space left on device")
	checkText(t, d.file("state"), "old\n")
	checkEntries(t, dir, "pgid", "state")

	// An identity that cannot be written is removed: it is not that of the process that runs now.
	if err := os.WriteFile(d.file("full"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	err = WriteID(d, "pgid", proc.ID{PID: 1234, Start: 5})
	checkError(t, "pgid", err, "no space left on device")
	checkEntries(t, dir, "full", "state")
}

func TestALockIsHeldUntilItIsClosed(t *testing.T) {
	d := openDir(t, tempDir(t))
	for range 2 {
		lock, err := d.OpenLock("lock")
		must(t, err)
		if _, err := d.OpenLock("lock"); !errors.Is(err, ErrLocked) {
			t.Errorf("%v", err)
		}
		must(t, lock.Close())
	}
	checkMode(t, d.file("lock"), 0o600)
}

func TestADirectoryStaysTheOneThatWasOpened(t *testing.T) {
	dir := tempDir(t)
	state, moved, other := filepath.Join(dir, "state"), filepath.Join(dir, "moved"), filepath.Join(dir, "other")
	must(t, os.Mkdir(state, 0o755), os.Mkdir(other, 0o755))
	d, name, err := OpenParent(filepath.Join(state, "file"))
	must(t, err)
	defer d.Close()
	must(t, os.Rename(state, moved), os.Symlink("other", state), d.WriteFile(name, nil, 0o600))
	checkEntries(t, moved, "file")
	checkEntries(t, other)
	_, inode := d.ID()
	if _, same := openDir(t, moved).ID(); same != inode {
		t.Error("the same directory has another id")
	}
	if _, another := openDir(t, other).ID(); another == inode {
		t.Error("another directory has the same id")
	}
}

func TestOwnLinksToADirectoryAreFollowed(t *testing.T) {
	dir := tempDir(t)
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755), os.Symlink("a", filepath.Join(dir, "relative")),
		os.Symlink(filepath.Join(dir, "relative", "b"), filepath.Join(dir, "absolute")), os.Symlink("loop", filepath.Join(dir, "loop")))
	_, want := openDir(t, filepath.Join(dir, "a", "b")).ID()
	t.Chdir(dir)
	for _, path := range []string{"relative/b", "absolute", "absolute/", "relative//b/.", "absolute/../b", "./absolute"} {
		_, fromRoot := openDir(t, dir+"/"+path).ID()
		if _, fromHere := openDir(t, path).ID(); fromRoot != want || fromHere != want {
			t.Errorf("%s leads elsewhere", path)
		}
	}
	if _, err := OpenDir("loop"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := OpenDir("missing/state"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// The owner of a directory can have a link in it lead anywhere, where root writes everything.
func TestALinkThatSomebodyElseCanHaveMadeIsNotFollowed(t *testing.T) {
	asRoot(t)
	target := tempDir(t)
	must(t, os.Mkdir(filepath.Join(target, "sub"), 0o755))
	for _, c := range []struct {
		mode             os.FileMode
		uid, gid, linker int
		want             string
	}{
		{0o755, nobody, 0, nobody, "its directory is owned by uid 65534"},
		{0o755, nobody, 0, 0, "its directory is owned by uid 65534"},
		{0o755, 0, 0, nobody, "it is owned by uid 65534"},
		{0o775, 0, 12345, 0, "its directory is group-writable by gid 12345"},
		{0o777, 0, 0, 0, "its directory is world-writable"},
		{0o777 | os.ModeSticky, 0, 0, nobody, "it is owned by uid 65534"},
	} {
		in := tempDir(t)
		link := filepath.Join(in, "link")
		must(t, os.Symlink(target, link), os.Lchown(link, c.linker, c.gid), os.Chown(in, c.uid, c.gid), os.Chmod(in, c.mode))
		for _, path := range []string{link, link + "/sub"} {
			_, err := OpenDir(path)
			checkError(t, c, err, "cannot follow the symbolic link "+link+": "+c.want)
		}
	}
	in := tempDir(t)
	must(t, os.Symlink(target, filepath.Join(in, "link")), os.Chmod(in, 0o777|os.ModeSticky))
	openDir(t, filepath.Join(in, "link"))
}

func TestTheParentOfAFile(t *testing.T) {
	dir := tempDir(t)
	t.Chdir(dir)
	for path, want := range map[string]string{"state": ".", "./state": ".", dir + "/state": dir, "/state": "/"} {
		d, name, err := OpenParent(path)
		must(t, err)
		if d.String() != want || name != "state" {
			t.Errorf("%s: %s and %s", path, d, name)
		}
		d.Close()
	}
	for _, path := range []string{"", "/", "dir/", ".", "..", "dir/.."} {
		_, _, err := OpenParent(path)
		checkError(t, path, err, "invalid file name")
	}
}
