package service

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"gracekit/lib/proc"
)

// WriteID writes an identity file: PID:START, and the boot id on a second line.
// It is not synced to the disk, because an identity means nothing after a reboot.
// If it cannot be written, an old one is removed, so that nobody takes another
// process for this one.
func WriteID(d *Dir, name string, id proc.ID) error {
	boot, err := proc.Boot()
	if err != nil {
		err = fmt.Errorf("cannot write %s: %w", d.file(name), err)
	} else {
		err = d.WriteFile(name, fmt.Appendf(nil, "%v\n%s\n", id, boot), 0o644)
	}
	if err != nil && !errors.Is(err, errNotRegular) {
		if left := d.Remove(name); left != nil {
			return fmt.Errorf("%w, and %w", err, left)
		}
	}
	return err
}

// ReadID reads an identity file that is root's or the caller's. ErrGone if it is
// missing, empty, torn, or of another boot: it names no process.
func ReadID(d *Dir, name string) (proc.ID, error) {
	text, err := d.ReadFile(name, maxPidfile)
	if errors.Is(err, fs.ErrNotExist) {
		return proc.ID{}, &GoneError{Why: d.file(name) + ": no such file"}
	}
	if err != nil {
		return proc.ID{}, err
	}
	id, err := parseIdentity(string(text))
	var gone *GoneError
	if errors.As(err, &gone) {
		return proc.ID{}, &GoneError{Why: d.file(name) + ": " + gone.Why}
	}
	if err != nil {
		return proc.ID{}, fmt.Errorf("cannot read %s: %w", d.file(name), err)
	}
	return id, nil
}

// parseIdentity reads the text of an identity file. What is left of one that was
// not written to its end, or is of another boot, names no process: a GoneError.
func parseIdentity(text string) (proc.ID, error) {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" {
		return proc.ID{}, &GoneError{Stale: true, Why: "empty"}
	}
	line, boot := strings.TrimSpace(line), strings.TrimSpace(rest)
	const bootID = len("1c6e8b92-6d7f-4c4b-9d39-5a3c0c5d7f5e")
	torn := len(boot) < bootID && strings.Trim(line, "0123456789:") == "" && strings.Trim(boot, "0123456789abcdef-") == ""
	if torn {
		return proc.ID{}, &GoneError{Stale: true, Why: "incomplete: no boot id on its second line"}
	}
	id, err := proc.ParseID(line)
	if err != nil {
		return proc.ID{}, err
	}
	current, err := proc.Boot()
	if err != nil {
		return proc.ID{}, err
	}
	if len(boot) != bootID {
		return proc.ID{}, fmt.Errorf("invalid boot id %q", boot)
	}
	if boot != current {
		return proc.ID{}, &GoneError{Why: "it was written before this boot"}
	}
	return id, nil
}
