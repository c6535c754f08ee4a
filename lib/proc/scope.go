package proc

import (
	"fmt"
	"strings"
)

// Scope is which processes are meant together with a target.
type Scope uint8

const (
	ScopeProcess  Scope = iota // the process itself
	ScopeGroup                 // its process group
	ScopeTree                  // it and its descendants
	ScopeChildren              // each of its children for itself
	ScopeSidekiq               // each Sidekiq among it and its descendants for itself
	ScopeCgroup                // all that is in its cgroup
	ScopeAll                   // its group, session and tree, and the processes that carry its mark
)

var scopeNames = [...]string{"process", "group", "tree", "children", "sidekiq", "cgroup", "all"}

// MemoryScopes are those whose memory can be measured.
var MemoryScopes = []Scope{ScopeProcess, ScopeGroup, ScopeTree, ScopeChildren, ScopeSidekiq, ScopeCgroup}

// ParseScope reads the name of one of the scopes in allowed.
func ParseScope(name string, allowed []Scope) (Scope, error) {
	var names []string
	for _, scope := range allowed {
		if scope.String() == name {
			return scope, nil
		}
		names = append(names, scope.String())
	}
	last := len(names) - 1
	return 0, fmt.Errorf("invalid scope %q (want %s or %s)", name, strings.Join(names[:last], ", "), names[last])
}

// String is the scope's name.
func (s Scope) String() string { return scopeNames[s] }
