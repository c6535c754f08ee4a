package proc

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/tklauser/go-sysconf"
	"golang.org/x/sys/unix"
)

// Usage is how large a process is, or several together, all in KB.
type Usage struct {
	RSS  int64 // resident, /proc/PID/statm field 2
	Anon int64 // resident and anonymous, RssAnon of /proc/PID/status
	Peak int64 // the most it was resident, VmHWM of /proc/PID/status
	Swap int64 // swapped out, VmSwap of /proc/PID/status
	PSS  int64 // resident, shared pages divided among those who share them, Pss of /proc/PID/smaps_rollup
	USS  int64 // resident and private, Private_* of /proc/PID/smaps_rollup
}

func (u *Usage) add(o Usage) {
	u.RSS += o.RSS
	u.Anon += o.Anon
	u.Peak += o.Peak
	u.Swap += o.Swap
	u.PSS += o.PSS
	u.USS += o.USS
}

// Field is one figure of Usage.
type Field uint8

const (
	RSS Field = 1 << iota
	Anon
	Peak
	Swap
	PSS
	USS
)

var fieldNames = map[string]Field{"rss": RSS, "anon": Anon, "peak": Peak, "swap": Swap, "pss": PSS, "uss": USS}

// ParseField reads the name of a figure.
func ParseField(name string) (Field, error) {
	if f, ok := fieldNames[name]; ok {
		return f, nil
	}
	return 0, fmt.Errorf("invalid field %q (want rss, pss, uss, swap, anon or peak)", name)
}

// Sum is the sum, in KB, of the figures in f: fields can be joined with |.
func (f Field) Sum(u Usage) (kb int64) {
	for i, figure := range [...]int64{u.RSS, u.Anon, u.Peak, u.Swap, u.PSS, u.USS} { // in the order of the fields
		if f&(1<<i) != 0 {
			kb += figure
		}
	}
	return kb
}

var (
	errStatm  = errors.New("cannot parse /proc/PID/statm")
	errNoAnon = errors.New("no RssAnon in /proc/PID/status (Linux 4.5 or later is needed)")
)

var pageKB = sync.OnceValue(func() int64 {
	bytes, err := sysconf.Sysconf(sysconf.SC_PAGESIZE)
	if err != nil {
		panic(err) // Linux always knows
	}
	return bytes / 1024
})

// ErrEnding is the ErrGone of a process that has given its memory back on its
// way out, and has not ended yet.
var ErrEnding = fmt.Errorf("%w: it is exiting", ErrGone)

// Memory reads the figures that are wanted, and of the others those that cost
// nothing more; all are 0 for a kernel thread. ErrGone if the process has ended,
// or is about to. For rss, anon, peak and swap the files stay open between calls,
// and nothing is allocated: this is what a watcher does at each check.
func (p *Process) Memory(want Field) (u Usage, err error) {
	if want&RSS != 0 {
		if err = p.readStatm(&u); err != nil {
			return u, err
		}
	}
	if want&(Anon|Peak|Swap) != 0 {
		if err = p.readStatus(&u); err != nil {
			return u, err
		}
	}
	if want&(PSS|USS) != 0 {
		err = p.readSmaps(&u)
	}
	return u, err
}

func (p *Process) readStatm(u *Usage) error {
	var room [256]byte
	text, err := p.readOpen(&p.statm, "statm", room[:])
	if err != nil {
		return err
	}
	pages, ok := residentPages(text)
	if !ok {
		return errStatm
	}
	u.RSS = int64(pages) * pageKB()
	if pages == 0 {
		return p.readOtherThread(u)
	}
	return nil
}

// residentPages is field 2 of a statm.
func residentPages(text []byte) (pages uint64, ok bool) {
	_, rest, ok := cutUint(text)
	if !ok || len(rest) == 0 || rest[0] != ' ' {
		return 0, false
	}
	pages, _, ok = cutUint(rest[1:])
	return pages, ok && pages < 1<<50
}

// withoutMemory tells a kernel thread, which has no memory of its own, from a
// process that is exiting.
func (p *Process) withoutMemory() error {
	s, err := p.Stat()
	if err == nil && !s.Kernel() {
		err = ErrEnding
	}
	return err
}

// readOtherThread reads the memory of a process whose main thread ended before
// the others: its own files show none.
func (p *Process) readOtherThread(u *Usage) error {
	if s, err := p.Stat(); err != nil || s.Threads <= 1 {
		return p.withoutMemory()
	}
	tids, err := p.threadIDs()
	if err != nil {
		return err
	}
	for _, tid := range tids {
		text, err := p.ReadFile("task/" + strconv.Itoa(tid) + "/statm")
		if err == nil {
			if pages, ok := residentPages(text); ok && pages > 0 {
				u.RSS = int64(pages) * pageKB()
				return nil
			}
		}
	}
	return p.withoutMemory()
}

func (p *Process) readStatus(u *Usage) error {
	var room [4096]byte
	text, err := p.readOpen(&p.status, "status", room[:])
	if err != nil {
		return err
	}
	var ok bool
	u.Peak, ok = lineKB(text, "VmHWM:")
	if !ok {
		return p.withoutMemory()
	}
	u.Swap, _ = lineKB(text, "VmSwap:") // not there without CONFIG_SWAP
	if u.Anon, ok = lineKB(text, "RssAnon:"); !ok {
		return errNoAnon
	}
	return nil
}

// readSmaps opens the file anew, for an open one shows the memory from before an exec.
func (p *Process) readSmaps(u *Usage) error {
	var room [4096]byte
	text, err := p.readOnce("smaps_rollup", room[:])
	switch {
	case err == unix.EACCES || err == unix.EPERM:
		return fmt.Errorf("cannot read /proc/%d/smaps_rollup for pss and uss: %w (CAP_SYS_PTRACE is needed)", p.ID.PID, err)
	case err != nil:
		return err
	}
	var ok bool
	if u.PSS, ok = lineKB(text, "Pss:"); !ok {
		return fmt.Errorf("cannot parse /proc/%d/smaps_rollup: no Pss", p.ID.PID)
	}
	for _, key := range [...]string{"Private_Clean:", "Private_Dirty:", "Private_Hugetlb:"} {
		kb, _ := lineKB(text, key)
		u.USS += kb
	}
	return nil
}

// readOpen is readOnce for a file that stays open between calls: opening it
// costs more than reading it.
func (p *Process) readOpen(d *descriptor, name string, room []byte) (text []byte, err error) {
	if d.fd() < 0 {
		fd, err := p.open(name)
		if err != nil {
			return nil, err
		}
		*d = held(fd)
	}
	if text, err = pread(d.fd(), room); err != nil { // opened again, it may show more: /proc can be remounted
		unix.Close(d.fd())
		*d = 0
	}
	return text, err
}

// lineKB is the number of a line such as "VmSwap:      12 kB".
func lineKB(text []byte, key string) (kb int64, ok bool) {
	line := statusLine(text, key)
	for len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		line = line[1:]
	}
	n, _, ok := cutUint(line)
	return int64(n), ok && n < 1<<53
}
