package proc

import (
	"encoding/binary"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Scanner lists processes. It keeps its buffers, so that a listing that has
// been made once allocates nothing.
type Scanner struct {
	proc    int // /proc, -1 until it is needed
	entries []byte
	name    []byte
	buf     buffer
	stats   []Stat
	pids    []int
}

// NewScanner is a Scanner; close it when it is not needed any more.
func NewScanner() *Scanner { return &Scanner{proc: -1} }

// Close closes /proc.
func (sc *Scanner) Close() {
	if sc.proc >= 0 {
		unix.Close(sc.proc)
	}
}

func (sc *Scanner) open() (err error) {
	if sc.proc < 0 {
		sc.entries = make([]byte, 32<<10)
		sc.proc, err = unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	return err
}

// eachNumber calls do for each entry of a directory whose name is a number,
// such as the processes in /proc and the threads in /proc/PID/task. The
// directory must be at its start.
func (sc *Scanner) eachNumber(dir int, do func(n int)) error {
	const ino, off = 8, 8 // struct linux_dirent64, getdents64(2)
	for {
		n, err := unix.Getdents(dir, sc.entries)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return gone(err)
		}
		if n == 0 {
			return nil
		}
		for rest := sc.entries[:n]; len(rest) > 0; {
			length := binary.NativeEndian.Uint16(rest[ino+off:])
			name := rest[ino+off+2+1 : length]
			if number, tail, ok := cutUint(name); ok && tail[0] == 0 && number > 0 && number <= PIDMax {
				do(int(number))
			}
			rest = rest[length:]
		}
	}
}

// all reads the stat of every process that there is. One that ends meanwhile is left out.
func (sc *Scanner) all() ([]Stat, error) {
	if err := sc.open(); err != nil {
		return nil, err
	}
	if _, err := unix.Seek(sc.proc, 0, 0); err != nil {
		return nil, err
	}
	sc.stats = sc.stats[:0]
	err := sc.eachNumber(sc.proc, func(pid int) {
		if s, err := sc.stat(pid); err == nil {
			sc.stats = append(sc.stats, s)
		}
	})
	return sc.stats, err
}

// SessionLeaders are the processes that lead a session and have not ended.
func (sc *Scanner) SessionLeaders() ([]Stat, error) {
	all, err := sc.all()
	return slices.DeleteFunc(all, func(s Stat) bool { return s.Session != s.PID || s.Ended() }), err
}

func (sc *Scanner) stat(pid int) (Stat, error) {
	text, err := sc.buf.readAt(sc.proc, sc.path(pid, nameStat))
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(text)
}

// path makes "PID/name", relative to /proc. It is good until the next one is made.
func (sc *Scanner) path(pid int, name []byte) []byte {
	sc.name = strconv.AppendInt(sc.name[:0], int64(pid), 10)
	sc.name = append(sc.name, '/')
	sc.name = append(sc.name, name...)
	return sc.name
}
