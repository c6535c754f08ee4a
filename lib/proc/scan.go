package proc

import (
	"io"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Scanner lists processes. It keeps /proc open between listings.
type Scanner struct {
	proc *os.File // nil until it is needed
	room []byte   // what is read of a file, so that reading all of /proc leaves no garbage
}

// NewScanner is a Scanner; close it when it is not needed any more.
func NewScanner() *Scanner { return &Scanner{} }

// Close closes /proc.
func (sc *Scanner) Close() {
	if sc.proc != nil {
		sc.proc.Close()
	}
}

func (sc *Scanner) open() (err error) {
	if sc.proc != nil {
		return nil
	}
	fd, err := openat(unix.AT_FDCWD, "/proc", unix.O_DIRECTORY) // os.Open would make an epoll for it
	if err == nil {
		sc.proc = os.NewFile(uintptr(fd), "/proc")
	}
	return err
}

// All reads the stat of every process that there is. One that ends meanwhile is
// left out.
func (sc *Scanner) All() ([]Stat, error) {
	if err := sc.open(); err != nil {
		return nil, err
	}
	if _, err := sc.proc.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := sc.proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	stats := make([]Stat, 0, len(names))
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue // not a process
		}
		text, err := sc.read(name + "/stat")
		if err != nil {
			continue
		}
		if s, err := ParseStat(text); err == nil {
			stats = append(stats, s)
		}
	}
	return stats, nil
}

// read reads a file of /proc that the kernel makes in one piece (see pread). The
// text is good until the next reading.
func (sc *Scanner) read(name string) ([]byte, error) {
	if err := sc.open(); err != nil {
		return nil, err
	}
	fd, err := openat(int(sc.proc.Fd()), name, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if sc.room == nil {
		sc.room = make([]byte, 4096)
	}
	text, err := pread(fd, sc.room)
	if cap(text) > len(sc.room) {
		sc.room = text[:cap(text)]
	}
	return text, err
}

// SessionLeaders are the processes that lead a session and have not ended.
func (sc *Scanner) SessionLeaders() ([]Stat, error) {
	all, err := sc.All()
	return slices.DeleteFunc(all, func(s Stat) bool { return s.Session != s.PID || s.Ended() }), err
}

// openForReading opens the directory of a process in /proc alone, so that all
// that is read of it is of the same process. It must be closed in any case.
func (sc *Scanner) openForReading(pid int) (*Process, Stat, error) {
	p := &Process{}
	if err := sc.open(); err != nil {
		return p, Stat{}, err
	}
	dir, err := openat(int(sc.proc.Fd()), strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return p, Stat{}, err
	}
	p.dir = held(dir)
	s, err := p.Stat()
	p.ID = ID{pid, s.Start}
	return p, s, err
}
