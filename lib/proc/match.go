package proc

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// CheckGlob tells whether a pattern can be matched at all (see Match).
func CheckGlob(glob string) error {
	if _, err := path.Match(glob, ""); err != nil || glob == "" {
		return fmt.Errorf(`invalid pattern %q (want for example "puma: cluster worker*")`, glob)
	}
	return nil
}

// Match lists those of p and its descendants whose title or name matches the
// pattern, parents first. The title is /proc/PID/cmdline with a space between
// arguments, the name /proc/PID/comm. The pattern is one of path.Match, but that
// a slash is a character like others, as it is in a shell's case. ErrGone if p
// has ended.
func (sc *Scanner) Match(p *Process, glob string) ([]Stat, error) {
	if err := CheckGlob(glob); err != nil {
		return nil, err
	}
	s, err := p.Stat()
	if err != nil {
		return nil, err
	}
	var found []Stat
	add := func(p *Process, s Stat) {
		if p.matches(glob) {
			found = append(found, s)
		}
	}
	add(p, s)
	if err := sc.Walk(p, add); err != nil {
		return nil, err
	}
	if p.Ended() {
		return nil, ErrGone
	}
	return found, nil
}

func (p *Process) matches(glob string) bool {
	cmdline, _ := p.ReadFile("cmdline") // empty if it has ended
	name, _ := p.Name()
	title := string(bytes.ReplaceAll(bytes.TrimRight(cmdline, "\x00"), []byte{0}, []byte{' '}))
	return globMatches(glob, title) || globMatches(glob, name)
}

// globMatches is path.Match without its rule that * and ? match no slash.
func globMatches(glob, text string) bool {
	const slash = "\x01" // no title has it
	ok, _ := path.Match(strings.ReplaceAll(glob, "/", slash), strings.ReplaceAll(text, "/", slash))
	return ok
}
