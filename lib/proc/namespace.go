package proc

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// ownProc tells, by an error, that /proc is of another pid namespace, or none: a
// pidfd of a pid would then be of one process, and what is read of another one.
var ownProc = sync.OnceValue(func() error { return checkOwnProc("/proc/self", os.Getpid()) })

func checkOwnProc(self string, pid int) error {
	switch link, err := os.Readlink(self); {
	case err != nil:
		return fmt.Errorf("cannot read %s: %w (is /proc mounted?)", self, err)
	case link != strconv.Itoa(pid):
		return fmt.Errorf("/proc is of another pid namespace: this is process %d, and %s is %s", pid, self, link)
	}
	return nil
}

// InnerPID is the pid by which the process knows itself, in its own pid
// namespace: the last of NSpid in /proc/PID/status (Linux 4.1).
func (p *Process) InnerPID() (int, error) {
	text, err := p.ReadFile("status")
	if err != nil {
		return 0, err
	}
	pids := bytes.Fields(statusLine(text, "NSpid:"))
	if len(pids) == 0 {
		return p.ID.PID, nil
	}
	return strconv.Atoi(string(pids[len(pids)-1]))
}

// Hostname is the name that the process has for its host, in its own UTS
// namespace. Another one than the caller's takes CAP_SYS_ADMIN to ask.
func (p *Process) Hostname() (string, error) {
	const own = "/proc/thread-self/ns/uts" // not self, the main thread's
	var ours, its unix.Stat_t
	if err := unix.Stat(own, &ours); err != nil {
		return os.Hostname() // a kernel without
	}
	if err := unix.Fstatat(p.dir.fd(), "ns/uts", &its, 0); err != nil {
		return "", p.noNamespace(err)
	}
	if ours.Dev == its.Dev && ours.Ino == its.Ino {
		return os.Hostname()
	}
	there, err := unix.Openat(p.dir.fd(), "ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", p.noNamespace(err)
	}
	defer unix.Close(there)
	back, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", own, err)
	}
	defer unix.Close(back)
	type answer struct {
		name string
		err  error
	}
	in := make(chan answer)
	go func() {
		runtime.LockOSThread()
		var name unix.Utsname
		err := unix.Setns(there, unix.CLONE_NEWUTS)
		home := err != nil
		if !home {
			err = unix.Uname(&name)
			home = unix.Setns(back, unix.CLONE_NEWUTS) == nil
		}
		if home {
			runtime.UnlockOSThread() // else the thread ends with the goroutine
		}
		in <- answer{unix.ByteSliceToString(name.Nodename[:]), err}
	}()
	got := <-in
	if got.err != nil {
		return "", fmt.Errorf("the hostname of %d, in a UTS namespace of its own: %w", p.ID.PID, got.err)
	}
	return got.name, nil
}

// noNamespace is ErrGone for a process that has ended, which has none, zombie or not.
func (p *Process) noNamespace(err error) error {
	if p.Ended() {
		return ErrGone
	}
	return fmt.Errorf("/proc/%d/ns/uts: %w", p.ID.PID, err)
}
