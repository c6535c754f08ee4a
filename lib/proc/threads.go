package proc

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Thread is one thread of a process.
type Thread struct {
	TID  int
	Name string // /proc/PID/task/TID/comm, at most 15 bytes
}

// Threads lists the threads of the process. One that ends meanwhile is left
// out. ErrGone if the process has ended.
func (p *Process) Threads() ([]Thread, error) {
	tids, err := p.threadIDs()
	if err != nil {
		return nil, err
	}
	threads := make([]Thread, 0, len(tids))
	for _, tid := range tids {
		var room [32]byte
		if comm, err := p.readOnce("task/"+strconv.Itoa(tid)+"/comm", room[:]); err == nil {
			threads = append(threads, Thread{tid, strings.TrimSuffix(string(comm), "\n")})
		}
	}
	return threads, nil
}

// threadIDs reads /proc/PID/task.
func (p *Process) threadIDs() ([]int, error) {
	fd, err := openat(p.dir.fd(), "task", unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "task")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, gone(err)
	}
	tids := make([]int, 0, len(names))
	for _, name := range names {
		if tid, err := strconv.Atoi(name); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}
