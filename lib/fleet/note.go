package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// noteDir is where the job hook of a Sidekiq notes which instance it is, and what it runs: UID/PID.hook. Each user has a
// directory of its own, because the job hook may not write where root keeps its files.
var noteDir = "/run/gracekit"

// hookNote is what the job hook of a Sidekiq writes.
type hookNote struct {
	Identity string   `json:"identity"`
	Jobs     []RanJob `json:"jobs"` // those that are running
}

// maxNote bounds a note, in bytes.
const maxNote = 1 << 20

// readNote reads the note of a process. It is believed if it is owned by the user the process runs as and not writable
// by others, was written after the process started, and names the process' own pid.
func readNote(p *proc.Process) (note hookNote, ok bool) {
	status, err := p.Status()
	if err != nil {
		return hookNote{}, false
	}
	fd, err := unix.Open(fmt.Sprintf("%s/%d/%d.hook", noteDir, status.EUID, p.ID.PID), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return hookNote{}, false
	}
	f := os.NewFile(uintptr(fd), "note")
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != status.EUID || st.Mode&0o022 != 0 {
		return hookNote{}, false
	}
	if age := time.Now().Unix() - st.Mtim.Sec; float64(age) > (proc.Now() - p.ID.StartTime() + clockSlop).Seconds() {
		return hookNote{}, false // of a process that had this pid before
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil || json.Unmarshal(text, &note) != nil {
		return hookNote{}, false
	}
	id, ok := ParseIdentity(note.Identity)
	inner, err := p.InnerPID()
	if !ok || err != nil || id.PID != inner {
		return hookNote{}, false
	}
	return note, true
}
