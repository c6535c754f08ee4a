package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// tempDir is a directory that root and the caller alone can write, whatever the umask.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
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

func TestAFileIsReplacedEachTimeItIsWritten(t *testing.T) {
	d := openDir(t, tempDir(t))
	old := unix.Umask(0o77)
	defer unix.Umask(old)
	var before os.FileInfo
	for _, text := range []string{"one\n", "two, and longer\n", ""} {
		must(t, d.WriteFile("state", []byte(text), 0o640))
		info, err := os.Lstat(d.file("state"))
		must(t, err)
		if got, err := d.ReadFile("state", 100); err != nil || string(got) != text {
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
	checkEntries(t, d.String(), "state")
}

func TestAReaderFindsAFileWhole(t *testing.T) {
	d := openDir(t, tempDir(t))
	texts := [2][]byte{bytes.Repeat([]byte("a"), 10000), bytes.Repeat([]byte("b"), 30000)}
	must(t, d.WriteFile("state", texts[0], 0o600))
	done := make(chan error, 1)
	go func() {
		for i := range 300 {
			if err := d.WriteFile("state", texts[i%2], 0o600); err != nil {
				done <- err
				return
			}
		}
		done <- nil
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

// Settings may be links, of root or of the caller: the owner of a directory has not chosen what root reads.
func TestReadLinked(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, os.Mkdir(d.file("sub"), 0o755), os.WriteFile(d.file("sub/value"), []byte("25"), 0o644), os.Symlink("sub", d.file("data")),
		os.Symlink("data/value", d.file("link")), os.Symlink("sub", d.file("folder")))
	if text, err := d.ReadLinked("link", 100); err != nil || string(text) != "25" {
		t.Errorf("a link: %q, %v", text, err)
	}
	if _, err := d.ReadLinked("folder", 100); !errors.Is(err, errNotRegular) {
		t.Errorf("a link to a folder: %v", err)
	}
	if isRoot() {
		must(t, os.Lchown(d.file("data"), nobody, nobody))
		if text, err := d.ReadLinked("link", 100); err == nil || !strings.Contains(err.Error(), "cannot follow the symbolic link data: it is owned by uid") {
			t.Errorf("a link through one of another user: %q, %v", text, err)
		}
		must(t, os.Lchown(d.file("data"), 0, 0), os.Chown(d.file("sub/value"), nobody, nobody))
		if text, err := d.ReadLinked("link", 100); err == nil || !strings.Contains(err.Error(), "owned by uid") {
			t.Errorf("a link to a file of another user: %q, %v", text, err)
		}
	}
}

func TestALinkIsReplacedAndNotFollowed(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, os.WriteFile(d.file("other"), []byte("precious"), 0o644), os.Symlink(d.file("other"), d.file("state")))
	if _, err := d.ReadFile("state", 100); !errors.Is(err, errLink) {
		t.Errorf("read through a link: %v", err)
	}
	for _, flags := range []int{unix.O_RDWR, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND} {
		if f, err := d.OpenFile("state", flags, 0o600); !errors.Is(err, errLink) {
			f.Close()
			t.Errorf("opened through a link: %v", err)
		}
	}
	if _, err := d.OpenLock("state"); !errors.Is(err, errLink) {
		t.Errorf("locked through a link: %v", err)
	}
	must(t, d.WriteFile("state", []byte("new"), 0o600))
	if info, err := os.Lstat(d.file("state")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
	if text, _ := os.ReadFile(d.file("other")); string(text) != "precious" {
		t.Errorf("behind the link: %q", text)
	}
}

// A name in another directory can be the same file: what is written in place would be written there.
func TestAHardLinkIsNotOpenedToWrite(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, os.WriteFile(d.file("precious"), []byte("precious"), 0o644), os.Link(d.file("precious"), d.file("history")))
	for _, flags := range []int{unix.O_RDWR, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC} {
		if f, err := d.OpenFile("history", flags, 0o600); err == nil || err.Error() != "cannot open "+d.file("history")+": it has 2 hard links" {
			f.Close()
			t.Errorf("%v", err)
		}
	}
	if _, err := d.OpenLock("history"); err == nil {
		t.Error("locked")
	}
	must(t, d.WriteFile("history", []byte("new"), 0o600))
	if text, _ := os.ReadFile(d.file("precious")); string(text) != "precious" {
		t.Errorf("the other name: %q", text)
	}
}

func TestAnythingButARegularFileIsNotReplaced(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, unix.Mkfifo(d.file("fifo"), 0o600), os.Symlink("/dev/null", d.file("null")), os.Mkdir(d.file("sub"), 0o700))
	for _, name := range []string{"fifo", "null", "sub"} {
		if err := d.WriteFile(name, []byte("new"), 0o600); err == nil || err.Error() != "cannot write "+d.file(name)+": not a regular file" {
			t.Errorf("written: %v", err)
		}
		if text, err := d.ReadFile(name, 100); err == nil {
			t.Errorf("%s: read %q", name, text)
		}
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
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("invalid file name %q", name)) {
				t.Errorf("%q: %v", name, err)
			}
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
	must(t, d.WriteFile("state", []byte("old\n"), 0o600))
	err := d.WriteFile("state", make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) || err.Error() != "cannot write "+d.file("state")+": no space left on device" {
		t.Errorf("%v", err)
	}
	if text, err := d.ReadFile("state", 100); err != nil || string(text) != "old\n" {
		t.Errorf("%q, %v", text, err)
	}
	checkEntries(t, dir, "state")

	// An identity that cannot be written is removed: it is not that of the process that runs now.
	must(t, d.WriteFile("pgid", []byte("1:2\n"), 0o600), os.WriteFile(d.file("full"), make([]byte, 1<<13), 0o600))
	for os.WriteFile(filepath.Join(dir, fmt.Sprint("full", len(err.Error()))), make([]byte, 1<<12), 0o600) == nil {
		err = fmt.Errorf("%w.", err)
	}
	if err := WriteID(d, "pgid", proc.ID{PID: 1234, Start: 5}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(d.file("pgid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old identity is still there: %v", err)
	}
}

func TestAFileThatOthersCanWriteIsNotRead(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, d.WriteFile("state", []byte("12345"), 0o600))
	if text, err := d.ReadFile("state", 5); err != nil || string(text) != "12345" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := d.ReadFile("state", 4); err == nil || err.Error() != "cannot read "+d.file("state")+": longer than 4 bytes" {
		t.Errorf("%v", err)
	}
	must(t, os.Chmod(d.file("state"), 0o602))
	if _, err := d.ReadFile("state", 100); err == nil || err.Error() != "cannot read "+d.file("state")+": world-writable (mode 0602)" {
		t.Errorf("%v", err)
	}
	must(t, os.Chmod(d.file("state"), 0o660)) // by the caller's own group
	if _, err := d.ReadFile("state", 100); err != nil {
		t.Errorf("%v", err)
	}
	asRoot(t)
	must(t, os.Chown(d.file("state"), 0, 12345))
	if _, err := d.ReadFile("state", 100); err == nil || !strings.HasSuffix(err.Error(), ": group-writable by gid 12345 (mode 0660)") {
		t.Errorf("%v", err)
	}
	must(t, os.Chown(d.file("state"), nobody, nobody), os.Chmod(d.file("state"), 0o600))
	if _, err := d.ReadFile("state", 100); err == nil || !strings.HasSuffix(err.Error(), ": owned by uid 65534") {
		t.Errorf("%v", err)
	}
	if _, err := d.OpenLock("state"); err == nil || !strings.HasSuffix(err.Error(), ": owned by uid 65534") {
		t.Errorf("%v", err)
	}
}

func TestADirectoryThatOthersCanWriteIsRefused(t *testing.T) {
	dir := tempDir(t)
	for mode, want := range map[os.FileMode]string{
		0o777:                 "world-writable (mode 0777)",
		0o757:                 "world-writable (mode 0757)",
		0o777 | os.ModeSticky: "", // nobody else can replace a file in it
		0o775:                 "",
		0o755:                 "",
	} {
		must(t, os.Chmod(dir, mode))
		d, err := OpenDir(dir)
		if err == nil {
			d.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != "cannot use "+dir+": "+want) {
			t.Errorf("%v: %v; want %q", mode, err, want)
		}
	}
	asRoot(t)
	must(t, os.Chmod(dir, 0o775), os.Chown(dir, 0, 12345))
	if _, err := OpenDir(dir); err == nil || !strings.HasSuffix(err.Error(), ": group-writable by gid 12345 (mode 0775)") {
		t.Errorf("%v", err)
	}
	must(t, os.Chmod(dir, 0o755), os.Chown(dir, nobody, 0))
	if _, err := OpenDir(dir); err == nil || !strings.HasSuffix(err.Error(), ": owned by uid 65534") {
		t.Errorf("%v", err)
	}
}

func TestALockIsHeldUntilItIsClosed(t *testing.T) {
	d := openDir(t, tempDir(t))
	lock, err := d.OpenLock("lock")
	must(t, err)
	if _, err := d.OpenLock("lock"); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	if got := mode(t, d.file("lock")); got != 0o600 {
		t.Errorf("%v", got)
	}
	must(t, lock.Close())
	lock, err = d.OpenLock("lock")
	must(t, err)
	lock.Close()
}

func TestAFileIsTruncatedOnlyWhenItWasChecked(t *testing.T) {
	d := openDir(t, tempDir(t))
	must(t, d.WriteFile("log", []byte("old"), 0o646))
	if f, err := d.OpenFile("log", unix.O_WRONLY|unix.O_TRUNC, 0); err == nil {
		f.Close()
		t.Error("opened")
	}
	if text, _ := os.ReadFile(d.file("log")); string(text) != "old" {
		t.Errorf("%q", text)
	}
	must(t, os.Chmod(d.file("log"), 0o644))
	f, err := d.OpenFile("log", unix.O_WRONLY|unix.O_TRUNC, 0)
	must(t, err)
	f.Close()
	if text, _ := os.ReadFile(d.file("log")); len(text) > 0 {
		t.Errorf("%q", text)
	}
}

func TestADirectoryStaysTheOneThatWasOpened(t *testing.T) {
	dir := tempDir(t)
	must(t, os.Mkdir(filepath.Join(dir, "state"), 0o755), os.Mkdir(filepath.Join(dir, "other"), 0o755))
	d, name, err := OpenParent(filepath.Join(dir, "state", "file"))
	must(t, err)
	defer d.Close()
	must(t, os.Rename(filepath.Join(dir, "state"), filepath.Join(dir, "moved")), os.Symlink("other", filepath.Join(dir, "state")))
	must(t, d.WriteFile(name, []byte("text"), 0o600))
	checkEntries(t, filepath.Join(dir, "moved"), "file")
	checkEntries(t, filepath.Join(dir, "other"))
	device, inode := d.ID()
	if other, inodeOther := openDir(t, filepath.Join(dir, "moved")).ID(); other != device || inodeOther != inode {
		t.Error("the same directory has another id")
	}
	if _, other := openDir(t, filepath.Join(dir, "other")).ID(); other == inode {
		t.Error("another directory has the same id")
	}
}

func TestOwnLinksToADirectoryAreFollowed(t *testing.T) {
	dir := tempDir(t)
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755), os.Symlink("a", filepath.Join(dir, "relative")),
		os.Symlink(filepath.Join(dir, "relative", "b"), filepath.Join(dir, "absolute")), os.Symlink("loop", filepath.Join(dir, "loop")))
	_, want := openDir(t, filepath.Join(dir, "a", "b")).ID()
	for _, path := range []string{"relative/b", "absolute", "absolute/", "relative//b/.", "absolute/../b", "./absolute"} {
		if _, inode := openDir(t, dir+"/"+path).ID(); inode != want {
			t.Errorf("%s leads elsewhere", path)
		}
		t.Chdir(dir)
		if _, inode := openDir(t, path).ID(); inode != want {
			t.Errorf("%s leads elsewhere from %s", path, dir)
		}
	}
	if _, err := OpenDir(filepath.Join(dir, "loop")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := OpenDir(filepath.Join(dir, "missing", "state")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// Whoever owns a directory can have a link in it lead anywhere, where root writes everything.
func TestALinkThatSomebodyElseCanHaveMadeIsNotFollowed(t *testing.T) {
	asRoot(t)
	dir := tempDir(t)
	target := filepath.Join(dir, "target")
	must(t, os.MkdirAll(filepath.Join(target, "sub"), 0o755))
	for name, c := range map[string]struct {
		mode             os.FileMode
		uid, gid, linker int
	}{
		"of a user":                       {0o755, nobody, 0, nobody},
		"of a user, with a link of root":  {0o755, nobody, 0, 0},
		"of root, with a link of a user":  {0o755, 0, 0, nobody},
		"of a group":                      {0o775, 0, 12345, 0},
		"of everybody":                    {0o777, 0, 0, 0},
		"like tmp, with a link of a user": {0o777 | os.ModeSticky, 0, 0, nobody},
	} {
		in := filepath.Join(dir, name)
		link := filepath.Join(in, "link")
		must(t, os.Mkdir(in, 0o755), os.Symlink(target, link), os.Lchown(link, c.linker, c.gid), os.Chown(in, c.uid, c.gid), os.Chmod(in, c.mode))
		for _, path := range []string{link, link + "/sub"} {
			d, err := OpenDir(path)
			if err == nil {
				d.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "cannot follow the symbolic link "+link) {
				t.Errorf("in a directory %s: %v", name, err)
			}
		}
	}
	in := filepath.Join(dir, "like tmp, with a link of root")
	must(t, os.Mkdir(in, 0o755), os.Symlink(target, filepath.Join(in, "link")), os.Chmod(in, 0o777|os.ModeSticky))
	openDir(t, filepath.Join(in, "link"))
}

func TestTheParentOfAFile(t *testing.T) {
	dir := tempDir(t)
	t.Chdir(dir)
	for path, want := range map[string][2]string{
		"state":        {".", "state"},
		"./state":      {".", "state"},
		dir + "/state": {dir, "state"},
		"/state":       {"/", "state"},
	} {
		d, name, err := OpenParent(path)
		must(t, err)
		if d.String() != want[0] || name != want[1] {
			t.Errorf("%s: %s and %s", path, d, name)
		}
		d.Close()
	}
	for _, path := range []string{"", "/", "dir/", ".", "..", "dir/.."} {
		if _, _, err := OpenParent(path); err == nil || !strings.HasPrefix(err.Error(), "invalid file name") {
			t.Errorf("%q: %v", path, err)
		}
	}
}
