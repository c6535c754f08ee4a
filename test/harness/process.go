package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Nobody is the user that owns nothing.
const Nobody = 65534

// OwnSession makes a command the leader of a session.
var OwnSession = &syscall.SysProcAttr{Setsid: true}

// A Process is a reading of /proc/PID/stat, made without the packages that are tested.
type Process struct {
	PID, PPID, PGID, SID int
	State                byte   // R S D T Z ...
	StartTime            string // field 22: with the pid, the identity
}

// FindProcess reads a process. A zombie is not alive: it runs nothing any more.
func FindProcess(pid int) (p Process, alive bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // f[0] is field 3
	p.PID, p.State, p.StartTime = pid, f[0][0], string(f[19])
	p.PPID, _ = strconv.Atoi(string(f[1]))
	p.PGID, _ = strconv.Atoi(string(f[2]))
	p.SID, _ = strconv.Atoi(string(f[3]))
	return p, p.State != 'Z' && p.State != 'X'
}

// Find reads the process of PID:START, or of a pid; not alive: it has exited.
func Find(target string) (p Process, alive bool) {
	p, alive = FindProcess(PIDOf(target))
	return p, alive && (p.ID() == target || !strings.Contains(target, ":"))
}

// PIDOf is the pid of PID:START, or of a pid alone.
func PIDOf(id string) (pid int) {
	fmt.Sscanf(id, "%d", &pid)
	return pid
}

func (p Process) ID() string { return fmt.Sprintf("%d:%s", p.PID, p.StartTime) }

func (p Process) String() string {
	return fmt.Sprintf("%d (parent %d, group %d, session %d, state %c): %s", p.PID, p.PPID, p.PGID, p.SID, p.State,
		strings.ReplaceAll(p.Title(), "\x00", " "))
}

// Title is its command line, or what it has written over it.
func (p Process) Title() string { return strings.TrimRight(p.File("cmdline"), "\x00") }

// File is a file of it in /proc; empty if that cannot be read.
func (p Process) File(name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, name))
	return string(text)
}

func (p Process) Alive() bool {
	now, alive := FindProcess(p.PID)
	return alive && now.StartTime == p.StartTime
}

// Signal signals this very process, and no other that got its pid.
func (p Process) Signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, _ := FindProcess(p.PID); now.StartTime != p.StartTime {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

func (p Process) Kill() { p.Signal(unix.SIGKILL) }

// A Child is a process that the test itself has started.
type Child struct {
	Process
	Done chan struct{} // closed when it has been waited for
	Code int           // then: -1 if a signal ended it
}

func startChild(c *exec.Cmd) (*Child, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	p, _ := FindProcess(c.Process.Pid) // not waited for yet: it is there, at least as a zombie
	ch := &Child{Process: p, Done: make(chan struct{})}
	go func() {
		c.Wait()
		ch.Code = c.ProcessState.ExitCode()
		close(ch.Done)
	}()
	return ch, nil
}

// end kills a child that has not exited yet.
func (c *Child) end() {
	select {
	case <-c.Done:
	default:
		c.Kill()
		<-c.Done
	}
}

// polls returns a condition: a thread of the process was seen in ppoll(2) three times running, so that the process has
// handled what has come; or it has ended.
func (p Process) polls() func() bool {
	call, seen := fmt.Sprintf("%d ", unix.SYS_PPOLL), 0
	return func() bool {
		polling := false
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", p.PID))
		for _, file := range tasks {
			text, _ := os.ReadFile(file)
			polling = polling || strings.HasPrefix(string(text), call)
		}
		if seen++; !polling {
			seen = 0
		}
		return seen == 3 || !p.Alive()
	}
}

// Processes are all that live.
func Processes() (all []Process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if p, alive := FindProcess(pid); alive {
			all = append(all, p)
		}
	}
	return all
}

// Group are the members of a process group that live.
func Group(pgid int) (members []Process) {
	for _, p := range Processes() {
		if p.PGID == pgid {
			members = append(members, p)
		}
	}
	return members
}

// ProcessesOf finds what has the mark in its environment, is in one of the sessions or works in the folder: what writes its
// title over its environment, as Ruby does, is known by the other two.
func ProcessesOf(mark, dir string, sessions map[int]bool) (found []Process) {
	for _, p := range Processes() {
		if p.PID == os.Getpid() {
			continue
		}
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID))
		cwd = strings.TrimSuffix(cwd, " (deleted)")
		if sessions[p.SID] || cwd == dir || strings.HasPrefix(cwd, dir+"/") || strings.Contains("\x00"+p.File("environ"), "\x00"+mark+"\x00") {
			found = append(found, p)
		}
	}
	return found
}

// KillAll kills what is found, until nothing is any more, twice running: one may have been between fork and exec.
func KillAll(find func() []Process) {
	for clean := 0; clean < 2; clean++ {
		for _, p := range find() {
			p.Kill()
			clean = -1
		}
	}
}
