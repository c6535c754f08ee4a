package proc

import (
	"bytes"
	"strconv"
	"strings"
)

// MarkVariable is the environment variable by which the processes of a service
// are found when they have left its process group, session and tree. pgexec sets
// it to its own identity, and children inherit it.
const MarkVariable = "PGEXEC_ID"

// Mark is the entry of the environment that marks what the process with this
// identity has started: PGEXEC_ID=PID:START.
func (id ID) Mark() string { return MarkVariable + "=" + id.String() }

// LacksMark tells whether the process that has this pid now certainly does not
// carry a mark: its environment could be read, and is not empty, as it is
// for a moment within execve(2). That costs a third of opening the process, and
// most processes of a machine lack it.
func (sc *Scanner) LacksMark(pid int, mark string) bool {
	text, err := sc.read(strconv.Itoa(pid) + "/environ")
	return err == nil && len(text) > 0 && !bytes.Contains(text, []byte(mark))
}

// WithoutMark is an environment without the mark: for a program that must
// outlive the service that it is started from, such as a watcher. Outside of our
// programs env -u PGEXEC_ID does the same.
func WithoutMark(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, entry := range env {
		if !strings.HasPrefix(entry, MarkVariable+"=") {
			kept = append(kept, entry)
		}
	}
	return kept
}
