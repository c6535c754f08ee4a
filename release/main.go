// Command release writes a folder as a tar to stdout, to be extracted at / of
// an image: the same content and time are the same bytes, whoever makes it.
//
// Not tar(1): GNU's and busybox's write different bytes, and busybox's cannot
// give a file to root unless root runs it.
package main

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const usage = "release: fatal: usage: release FOLDER TIME (seconds since 1970) >FILE"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, usage)
		return 100
	}
	seconds, err := strconv.ParseUint(args[1], 10, 33) // what the field for it in the tar can hold
	if err != nil {
		fmt.Fprintf(stderr, "release: fatal: %q is no number of seconds (1700000000)\n", args[1])
		return 100
	}
	out := bufio.NewWriter(stdout)
	err = write(out, args[0], time.Unix(int64(seconds), 0))
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintf(stderr, "release: fatal: %v\n", err)
		return 111
	}
	return 0
}

// ours are the folders that nobody else makes. Those of the image are not in the
// tar: extracting it would give them our mode, and put a folder where a link was.
var ours = regexp.MustCompile(`(^|/)(gracekit|svc-[^/]*)(/|$)`)

// write puts what is in a folder into a tar, in the order of the names.
func write(out io.Writer, folder string, mtime time.Time) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && !ours.MatchString(name) {
			return nil
		}
		return add(w, path, "./"+name, mtime)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// add puts one file into the tar: root's, writable for nobody else, executable for all or none.
func add(w *tar.Writer, path, name string, mtime time.Time) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	h := &tar.Header{Format: tar.FormatUSTAR, Name: name, ModTime: mtime, Mode: 0o644}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, name+"/", 0o755
		return w.WriteHeader(h)
	case info.Mode()&fs.ModeSymlink != 0:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = os.Readlink(path); err != nil {
			return err
		}
		return w.WriteHeader(h)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: neither a file nor a folder", path)
	case info.Mode()&0o111 != 0:
		h.Mode = 0o755
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
