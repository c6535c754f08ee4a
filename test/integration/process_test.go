package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A process as /proc/PID/stat has it.
type process struct {
	pid, ppid, pgid, sid int
	state                byte   // R S D T Z ...
	start                string // field 22: with the pid, the identity
}

func (p process) id() string { return fmt.Sprintf("%d:%s", p.pid, p.start) }

func (p process) String() string {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	return fmt.Sprintf("%d (parent %d, group %d, session %d, state %c): %s", p.pid, p.ppid, p.pgid, p.sid, p.state,
		bytes.TrimSpace(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
}

// look reads a process. A zombie counts as gone: it runs nothing any more.
func look(pid int) (p process, alive bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // f[0] is field 3
	p.pid, p.state, p.start = pid, f[0][0], string(f[19])
	p.ppid, _ = strconv.Atoi(string(f[1]))
	p.pgid, _ = strconv.Atoi(string(f[2]))
	p.sid, _ = strconv.Atoi(string(f[3]))
	return p, p.state != 'Z' && p.state != 'X'
}

func (p process) alive() bool {
	now, alive := look(p.pid)
	return alive && now.start == p.start
}

// kill ends this very process, and no other that got its pid.
func (p process) kill() {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if p.alive() {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

func processes() (all []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if p, alive := look(pid); alive {
			all = append(all, p)
		}
	}
	return all
}

// processesWith finds what carries the mark in its environment, or is in one of the sessions:
// a Sidekiq writes its title over its environment, and is then known by its session alone.
func processesWith(mark string, sessions map[int]bool) (found []process) {
	for _, p := range processes() {
		if p.pid == os.Getpid() {
			continue
		}
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if sessions[p.sid] || strings.Contains("\x00"+string(environ), "\x00"+mark+"\x00") {
			found = append(found, p)
		}
	}
	return found
}

func group(pgid int) (members []process) {
	for _, p := range processes() {
		if p.pgid == pgid {
			members = append(members, p)
		}
	}
	return members
}

var ownSession = &syscall.SysProcAttr{Setsid: true}

// kb is the size of a process, of which limits are then made.
func (s *sandbox) kb(p process) int {
	s.Helper()
	kb, err := strconv.Atoi(strings.TrimSpace(s.wants(0, "rssprobe", p.id()).stdout))
	if err != nil {
		s.Fatal(err)
	}
	return kb
}
