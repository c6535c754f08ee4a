package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gracekit/lib/proc"
)

// WriteFile writes a file as a whole or not at all, and never through a link:
// a reader finds the old one or the new one.
func WriteFile(file string, text []byte, mode os.FileMode) error {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() { // /dev/null must stay what it is
		return fmt.Errorf("%s: no regular file, and not replaced", file)
	}
	// O_EXCL and a name that cannot be guessed: nobody has put a link in its place.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".gracekit-*")
	if err != nil {
		return fmt.Errorf("%s: cannot write beside it: %w", file, cause(err))
	}
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if errClose := tmp.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("%s: %w", file, cause(err))
	}
	return nil
}

// cause is an error without the name of the new file, which says nothing to anybody.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// WriteID writes an identity file.
func WriteID(file string, id proc.ID) error {
	return WriteFile(file, fmt.Appendln(nil, id), 0o644)
}

// ReadFile reads a file that WriteFile wrote for this user: no link, no other
// kind of file, nobody else's to write, and no longer than most bytes.
func ReadFile(file string, most int) ([]byte, error) {
	f, st, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch uid := int(st.Uid); {
	case uid != os.Geteuid() && uid != 0:
		return nil, fmt.Errorf("%s: it belongs to user %d", file, uid)
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("%s: others may write it (mode %04o)", file, st.Mode&0o7777)
	case st.Size > int64(most):
		return nil, fmt.Errorf("%s: longer than %d bytes", file, most)
	}
	text := make([]byte, st.Size)
	n, err := f.Read(text)
	return text[:max(n, 0)], err
}
