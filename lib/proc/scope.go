package proc

import "fmt"

// Scope is which processes are meant together with one.
type Scope uint8

const (
	ScopeProcess  Scope = iota // the process
	ScopeGroup                 // its process group
	ScopeTree                  // it and its descendants
	ScopeChildren              // each of its children for itself
)

var scopeNames = [...]string{"process", "group", "tree", "children"}

// ParseScope reads the name of a scope.
func ParseScope(name string) (Scope, error) {
	for s, n := range scopeNames {
		if n == name {
			return Scope(s), nil
		}
	}
	return 0, fmt.Errorf("%q is no scope (process, group, tree, children)", name)
}

// String is the scope's name.
func (s Scope) String() string { return scopeNames[s] }
