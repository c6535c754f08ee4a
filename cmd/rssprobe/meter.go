package main

import (
	"errors"
	"fmt"

	"gracekit/lib/cgroup"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
	"gracekit/lib/units"
)

// errNoMatch is the error of a target of which no process matches --match. It is
// not healthy: a misspelt pattern would be so for ever.
var errNoMatch = errors.New("no process matches --match")

// meter measures what the scope, or the pattern, says of a target.
type meter struct {
	scope  proc.Scope
	glob   string // instead of the scope, if it is not empty
	want   proc.Field
	scan   *proc.Scanner
	lister *sidekiq.Lister
}

func newMeter() *meter { return &meter{scan: proc.NewScanner(), lister: sidekiq.NewLister()} }

// size is a process and its memory, or what was added up for it.
type size struct {
	id    proc.ID
	usage proc.Usage
}

// measureTarget returns the sizes, and the limit in KB as it is for the target.
func (m *meter) measureTarget(target service.Target, limit units.Size) (sizes []size, limitKB int64, err error) {
	p, err := target.Open()
	if err != nil {
		return nil, 0, err
	}
	defer p.Close()
	var available int64
	if limit.IsShare() {
		if available, err = cgroup.Available(p.ID.PID); err != nil {
			return nil, 0, fmt.Errorf("%s: cannot determine the available memory: %w", target.Text, err)
		}
	}
	if sizes, err = m.measure(p); err != nil {
		err = fmt.Errorf("%s: %w", target.Text, err)
	}
	return sizes, limit.KB(available), err
}

func (m *meter) measure(p *proc.Process) ([]size, error) {
	switch {
	case m.glob != "":
		found, err := m.scan.Match(p, m.glob)
		if err == nil && len(found) == 0 {
			err = errNoMatch
		}
		return m.measureEach(ids(found), err)
	case m.scope == proc.ScopeChildren:
		children, err := m.scan.Children(p)
		return m.measureEach(ids(children), err)
	case m.scope == proc.ScopeSidekiq:
		found, err := m.lister.List(p)
		if err == nil && len(found) == 0 {
			found = []proc.ID{p.ID}
		}
		return m.measureEach(found, err)
	case m.scope == proc.ScopeCgroup:
		kb, err := cgroup.WorkingSet(p.ID.PID)
		if err != nil {
			return nil, err
		}
		return []size{{p.ID, proc.Usage{RSS: kb}}}, nil
	}
	usage, err := m.scan.Usage(p, m.scope, m.want)
	if err != nil {
		return nil, err
	}
	return []size{{p.ID, usage}}, nil
}

func ids(list []proc.Stat) (ids []proc.ID) {
	for _, s := range list {
		ids = append(ids, s.ID())
	}
	return ids
}

// measureEach measures the processes of a list. One that has ended meanwhile is
// left out.
func (m *meter) measureEach(list []proc.ID, err error) (sizes []size, _ error) {
	if err != nil {
		return nil, err
	}
	for _, id := range list {
		usage, err := m.memory(id)
		switch {
		case errors.Is(err, proc.ErrGone):
		case err != nil:
			return sizes, fmt.Errorf("process %d: %w", id.PID, err)
		default:
			sizes = append(sizes, size{id, usage})
		}
	}
	return sizes, nil
}

func (m *meter) memory(id proc.ID) (proc.Usage, error) {
	p, err := proc.OpenID(id)
	if err != nil {
		return proc.Usage{}, err
	}
	defer p.Close()
	return p.Memory(m.want)
}
