package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// once makes one check, for cron, which mails every line. So it is silent while
// there is nothing to say: a service that is down is not cron's business, and a
// target that is refused, or whose pidfile is stale, is reported once, until that
// changes.
func (k *killer) once(word string) error {
	target, err := service.Parse(word)
	if err != nil {
		return cli.Misuse(err)
	}
	k.legacy = false // the crontab says when to check
	argv := append(k.gracewatch(), "--once")
	state := k.values.State
	if state == "" && target.Service() == "" {
		state = filepath.Join(runDirectory, fileName(word)+".state")
	}
	if state != "" {
		argv = append(argv, "--state", state)
	}
	argv = append(append(argv, word), k.restart()...)
	if k.dryRun {
		return k.exec(argv)
	}
	if state == "" {
		state = filepath.Join(runDirectory, fileName(target.Service()))
	}
	if filepath.Dir(state) == runDirectory {
		makeDirectory(runDirectory) // if that fails, gracewatch reports that it cannot write there
	}
	reported := state + ".reported"
	p, err := target.Open()
	if err == nil {
		p.Close()
		changed(reported, "")
		return k.exec(argv)
	}
	code := cli.Refused
	if errors.Is(err, proc.ErrGone) {
		code = cli.No
	}
	if gone := (*service.GoneError)(nil); errors.As(err, &gone) && !gone.Stale {
		changed(reported, "")
		return cli.Exit(code)
	}
	if !changed(reported, err.Error()) {
		return cli.Exit(code)
	}
	return &cli.Error{Code: code, Err: err}
}

// fileName is a path as the name of a file.
func fileName(path string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, resolved(path))
}

// changed keeps what was reported of a target in a file, and tells whether that
// is new. Where it cannot be kept, it is reported each time rather than never.
func changed(file, text string) bool {
	const most = 4096
	dir, name, err := service.OpenParent(file)
	if err != nil {
		return true
	}
	defer dir.Close()
	old, err := dir.ReadFile(name, most)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return true
	case string(old) == text:
		return false
	}
	if text == "" {
		dir.Remove(name)
		return true
	}
	if len(text) <= most {
		dir.WriteFile(name, []byte(text), 0o600)
	}
	return true
}
