package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// stateFolder is where state is kept of targets that have no folder of their own.
const stateFolder = "/run/gracekit"

// once makes one check, for cron. It is silent while there is nothing to say: a
// service that is down is not cron's business, and a target that is refused, or
// whose pidfile is stale, is reported once, until that changes.
func (k *killer) once(word string) error {
	target, err := service.Parse(word)
	if err != nil {
		return cli.Misuse(err)
	}
	state := k.values.State
	if state == "" && target.Service() == "" {
		state = filepath.Join(stateFolder, fileName(word)+".state")
	}
	argv := append(k.gracewatch(), "--once")
	if state != "" {
		argv = append(argv, "--state", state)
	}
	argv = append(append(argv, word), k.restart()...)
	if k.dryRun {
		return k.exec(argv)
	}
	if state == "" || strings.HasPrefix(state, stateFolder+"/") {
		os.MkdirAll(stateFolder, 0o755) // where it cannot be made, the next write says so
	}
	said := state
	if said == "" {
		said = filepath.Join(stateFolder, fileName(target.Service()))
	}
	said += ".said"
	p, err := target.Open()
	if p != nil {
		p.Close()
	}
	var gone *service.GoneError
	switch {
	case err == nil:
		remember(said, "")
		return k.exec(argv)
	case errors.As(err, &gone) && !gone.Stale:
		remember(said, "")
		return cli.Exit(cli.No)
	}
	code := cli.Refused
	if errors.Is(err, proc.ErrGone) {
		code = cli.No
	}
	if !remember(said, err.Error()) {
		return cli.Exit(code)
	}
	return &cli.Error{Code: code, Err: err}
}

// fileName is a path as the name of a file.
func fileName(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return strings.Map(func(r rune) rune {
		if r == '/' || r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, path)
}

// remember keeps what was said of a target, and tells whether that has changed.
// Where it cannot be kept, it is said each time rather than never.
func remember(file, text string) (changed bool) {
	dir, name, err := service.OpenParent(file)
	if err != nil {
		return true
	}
	defer dir.Close()
	old, err := dir.ReadFile(name, 4096)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || string(old) == text {
		return err != nil
	}
	if text == "" {
		dir.Remove(name)
		return true
	}
	if len(text) < 4096 {
		dir.WriteFile(name, []byte(text), 0o600)
	}
	return true
}
