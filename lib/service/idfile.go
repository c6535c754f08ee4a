package service

import (
	"fmt"
	"os"
	"path/filepath"

	"gracekit/lib/proc"
)

// WriteID writes an identity file: as a whole or not at all, and never through
// a link. A reader finds the old one or the new one.
func WriteID(file string, id proc.ID) error {
	if file == "" {
		return fmt.Errorf("%q is no file to write", file)
	}
	// O_EXCL and a name that cannot be guessed: nobody has put a link in its place.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".pgid-*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(tmp, id)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if errClose := tmp.Close(); err == nil {
		err = errClose
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
