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
	fd, err := openat(p.dir, nameTask, unix.O_DIRECTORY)
	if err != nil {
		return nil, gone(err)
	}
	dir := os.NewFile(uintptr(fd), "task")
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	threads := make([]Thread, 0, len(names))
	for _, name := range names {
		tid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		comm, err := p.ReadFile("task/" + name + "/comm")
		if err == nil {
			threads = append(threads, Thread{tid, strings.TrimSuffix(string(comm), "\n")})
		}
	}
	return threads, nil
}
