package proc

// Usage adds up, in KB, what is wanted of the processes of a scope: of
// ScopeProcess, ScopeGroup or ScopeTree. Those beside p that end meanwhile, or
// cannot be read, count as nothing. ErrGone if p has ended.
func (sc *Scanner) Usage(p *Process, scope Scope, want Field) (Usage, error) {
	sum, err := p.Memory(want)
	if err != nil || scope == ScopeProcess {
		return sum, err
	}
	add := func(member *Process, _ Stat) {
		if u, err := member.Memory(want); err == nil {
			sum.add(u)
		}
	}
	if scope == ScopeTree {
		err = sc.Walk(p, add)
		return sum, err
	}
	self, err := p.Stat()
	if err != nil {
		return sum, err
	}
	members, err := sc.Group(self.PGID)
	for _, m := range members {
		if m.PID == p.ID.PID {
			continue
		}
		member, s, err := sc.openForReading(m.PID)
		if err == nil && s.PGID == self.PGID {
			add(member, s)
		}
		member.Close()
	}
	return sum, err
}

// Children lists the children of a process that have not ended. ErrGone if it
// has ended itself.
func (sc *Scanner) Children(p *Process) ([]Stat, error) {
	var children []Stat
	add := func(_ *Process, s Stat) {
		if s.PPID == p.ID.PID {
			children = append(children, s)
		}
	}
	if !hasChildrenFiles() {
		return children, sc.walkByScan(p, add)
	}
	s, err := p.Stat()
	if err == nil {
		err = sc.walkChildren(p, s, add)
	}
	return children, err
}
