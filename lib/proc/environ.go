package proc

import "strings"

// Environ is the environment that the process was started with, as far as its
// title has not overwritten it (/proc/PID/environ). ErrGone if it has ended.
func (p *Process) Environ() ([]string, error) {
	text, err := p.ReadFile("environ")
	if err != nil {
		return nil, err
	}
	return strings.Split(string(text), "\x00"), nil
}
