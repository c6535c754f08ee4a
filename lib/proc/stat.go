package proc

import (
	"bytes"
	"errors"
	"math"
)

// Stat is what /proc/PID/stat says of a process (proc_pid_stat(5)).
type Stat struct {
	PID     int
	State   byte   // field 3: R S D Z T t X I
	PPID    int    // field 4
	PGID    int    // field 5
	Session int    // field 6
	Flags   uint32 // field 9, PF_* of the kernel
	Threads int    // field 20
	Start   uint64 // field 22, clock ticks since boot
}

// ForkedOnly tells whether the process is a fork that has executed no program
// since: it runs the program of its parent, with its parent's title. This is
// PF_FORKNOEXEC of the kernel, which ps prints as flag 1; any user can read it.
func (s Stat) ForkedOnly() bool {
	const forkNoExec = 0x00000040 // linux/sched.h
	return s.Flags&forkNoExec != 0
}

// Kernel tells whether it is a thread of the kernel's own (PF_KTHREAD).
func (s Stat) Kernel() bool {
	const kernelThread = 0x00200000 // linux/sched.h
	return s.Flags&kernelThread != 0
}

var errStat = errors.New("cannot parse /proc/PID/stat")

// ParseStat reads the text of /proc/PID/stat. The name in it, in parentheses,
// may hold any character: the last parenthesis ends it.
func ParseStat(text []byte) (s Stat, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 2 || end < open || end+2 >= len(text) || text[end+1] != ' ' {
		return Stat{}, errStat
	}
	pid, rest, ok := cutUint(text)
	if !ok || pid > PIDMax || rest[0] != ' ' {
		return Stat{}, errStat
	}
	s.PID, s.State = int(pid), text[end+2]
	text = text[end+3:]
	for field := 4; field <= 22; field++ {
		if len(text) < 2 || text[0] != ' ' {
			return Stat{}, errStat
		}
		text = text[1:]
		negative := text[0] == '-'
		if negative {
			text = text[1:]
		}
		var n uint64
		if n, text, ok = cutUint(text); !ok {
			return Stat{}, errStat
		}
		switch field {
		case 4:
			s.PPID = int(n)
		case 5:
			s.PGID = int(n)
		case 6:
			s.Session = int(n)
		case 9:
			s.Flags = uint32(n)
		case 20:
			s.Threads = int(n)
		case 22:
			s.Start = n
		default:
			continue // tty_nr, tpgid, priority and nice may be negative
		}
		if negative || field != 22 && field != 9 && n > math.MaxInt32 {
			return Stat{}, errStat
		}
	}
	return s, nil
}

// nameIn is the name in a text that ParseStat can read (TASK_COMM_LEN: up to 15 bytes).
func nameIn(text []byte) string {
	return string(text[bytes.IndexByte(text, '(')+1 : bytes.LastIndexByte(text, ')')])
}

// cutUint reads the digits at the start of text; ok if there is one and the
// number fits.
func cutUint(text []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
		d := uint64(text[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, nil, false
		}
		n = n*10 + d
	}
	return n, text[i:], i > 0
}
