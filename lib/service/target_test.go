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

	"gracekit/lib/proc"
)

func TestWordsThatCannotBeATargetAreNamed(t *testing.T) {
	for _, text := range []string{"", "0", "-1", "+5", "00", "4194305", "99999999999999999999", "1:", ":1", "0:5", "1:2:3", "-"} {
		_, err := Parse(text)
		checkError(t, text, err, fmt.Sprintf("%q", text))
	}
}

func TestAWordIsTheNameOfAService(t *testing.T) {
	dir := tempDir(t)
	must(t, os.Mkdir(filepath.Join(dir, "worker"), 0o755), os.WriteFile(filepath.Join(dir, "pidfile"), nil, 0o644))
	t.Setenv("SVDIR", dir)
	t.Chdir(dir)
	for word, want := range map[string]string{
		"worker":    dir + "/worker",
		"./worker":  "./worker",
		"../worker": "../worker",
		"pidfile":   "pidfile", // not a directory: a path
		"missing":   "missing",
		"1234":      "", // a pid
	} {
		if path := parse(t, word).path; path != want {
			t.Errorf("%s: %q, want %q", word, path, want)
		}
	}
	// Where SVDIR is set no other directory is searched.
	serviceDirs = append(serviceDirs, dir)
	defer func() { serviceDirs = serviceDirs[:len(serviceDirs)-1] }()
	t.Setenv("SVDIR", tempDir(t))
	if path := parse(t, "worker").path; path != "worker" {
		t.Errorf("outside of SVDIR: %q", path)
	}
	t.Setenv("SVDIR", "")
	if path := parse(t, "worker").path; path != dir+"/worker" {
		t.Errorf("without SVDIR: %q", path)
	}
}

func TestAProcessIsFoundInEachWay(t *testing.T) {
	id := self(t)
	pidfile := file(t, fmt.Sprintln(id.PID), 0o644)
	link := filepath.Join(tempDir(t), "link")
	must(t, os.Symlink(pidfile, link))
	for _, text := range []string{
		fmt.Sprint(id.PID),
		id.String(),
		pidfile,
		link,
		file(t, fmt.Sprint(id.PID), 0o600),
		file(t, fmt.Sprintf(" %d \r\n", id.PID), 0o644),
		idFile(t, id),
	} {
		checkFound(t, text, id)
	}
}

func TestAnythingButAPidfileIsRefused(t *testing.T) {
	own := fmt.Sprintln(os.Getpid())
	dir := tempDir(t)
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	must(t, os.Symlink("nothing", link), unix.Mkfifo(fifo, 0o644))
	for name, want := range map[string]string{
		file(t, own, 0o646):                          "world-writable (mode 0646)",
		file(t, "sidekiq\n", 0o644):                  `not a pidfile: invalid pid "sidekiq" (want 1 to 4194304)`,
		file(t, "0\n", 0o644):                        `not a pidfile: invalid pid "0"`,
		file(t, "-"+own, 0o644):                      `not a pidfile: invalid pid "-`,
		file(t, own+own, 0o644):                      "not a pidfile: invalid pid",
		file(t, "12\x00", 0o644):                     `not a pidfile: invalid pid "12\x00"`,
		file(t, strings.Repeat(" ", 200)+own, 0o644): "not a pidfile: longer than 128 bytes",
		link:                          "no such file or directory, nor a service, a pid or PID:STARTTIME",
		fifo:                          "neither a directory nor a regular file",
		"/dev/null":                   "neither a directory nor a regular file",
		filepath.Join(dir, "missing"): "no such file or directory, nor a service",
		filepath.Join(file(t, own, 0o644), "file"): "not a directory",
		dir:                      "not a service directory: it has no supervise",
		strings.Repeat("x", 300): "file name too long",
	} {
		checkRefused(t, name, want)
	}
}

// TestRootUsesOnlyWhatRootOrTheUserOfTheProcessCanWrite has the owners of a plain pidfile.
func TestAnIdentityFileOrALinkOfAnotherUserIsRefusedByRoot(t *testing.T) {
	asRoot(t)
	id := self(t)
	recorded := idFile(t, id)
	gone := idFile(t, proc.ID{PID: id.PID, Start: id.Start + 1})
	must(t, os.Chown(recorded, nobody, 0), os.Chown(gone, nobody, 0))
	checkRefused(t, recorded, fmt.Sprintf("owned by uid 65534, but process %v runs as uid 0, gid 0", id))
	checkRefused(t, gone, "has exited, so that nothing shows that it was that user's")
	pidfile, link := file(t, fmt.Sprint(id.PID), 0o644), filepath.Join(tempDir(t), "link")
	must(t, os.Symlink(pidfile, link), os.Lchown(link, nobody, 0))
	checkRefused(t, link, "cannot follow the symbolic link "+link+": it is owned by uid 65534") // root would read what the user cannot
	must(t, os.Remove(link), os.Symlink(filepath.Dir(pidfile), link), os.Lchown(link, nobody, 0))
	checkRefused(t, filepath.Join(link, "file"), "the symbolic link "+link+" is owned by uid 65534")
}

func TestAPlainPIDIsStaleWhenItsProcessIsYoungerThanTheFile(t *testing.T) {
	pidfile, recorded := file(t, fmt.Sprint(os.Getpid()), 0o644), idFile(t, self(t))
	before := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(pidfile, before, before), os.Chtimes(recorded, before, before))
	_, err := find(pidfile)
	var gone *GoneError
	if !errors.As(err, &gone) || !gone.Stale {
		t.Errorf("%v", err)
	}
	checkFound(t, recorded, self(t))
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

func FuzzPidfile(f *testing.F) {
	for _, s := range []string{"1234\n", "1234:5678\n", "", "0", "-1", "12 13", "1:2:3", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		pid, id, err := parsePidfile(text)
		if err == nil && ((pid != 0) == (id != proc.ID{}) || pid+id.PID < 1 || pid+id.PID > proc.PIDMax) {
			t.Errorf("%q is pid %d and identity %v", text, pid, id)
		}
	})
}
