package proc

import "strings"

// markVariable is the environment variable by which processes that belong to a
// service are found after they have left its process group, session and tree.
// pgexec sets it, and children inherit it.
const markVariable = "PGEXEC_ID"

// Mark is the entry of the environment that pgexec gives to the process with
// this identity: PGEXEC_ID=PID:START.
func (id ID) Mark() string { return markVariable + "=" + id.String() }

// WithMark is an environment with the mark of this process instead of an
// inherited one.
func WithMark(env []string, id ID) []string { return append(WithoutMark(env), id.Mark()) }

// WithoutMark is an environment without the mark: for a program that must
// outlive the service it is started from, such as a watcher. For other programs
// there is env -u PGEXEC_ID.
func WithoutMark(env []string) []string {
	kept := make([]string, 0, len(env)+1)
	for _, entry := range env {
		if !strings.HasPrefix(entry, markVariable+"=") {
			kept = append(kept, entry)
		}
	}
	return kept
}
