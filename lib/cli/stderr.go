package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Stderr is where messages go, one line each. Writing to it never blocks, also
// where the pipe behind it is full because its logger stands still, and a
// logger that has exited does not end the program with SIGPIPE: a program of
// ours must not stop half way through a restart for a message.
var Stderr io.Writer = messages

var messages = &lines{fd: 2, program: filepath.Base(os.Args[0])}

const (
	// maxLine is PIPE_BUF: lines that are no longer than this are written to a
	// pipe whole or not at all, and not mixed with those of other processes.
	maxLine = 4096

	// maxQueued is how many lines wait for a writer thread, if there is one.
	maxQueued = 64

	// flushTime is how long exit and exec wait for that thread.
	flushTime = 100 * time.Millisecond
)

// lines writes lines to a descriptor. A line that cannot be written now is
// dropped and counted, and the next that can be says how many were lost.
type lines struct {
	fd      int
	program string

	mutex sync.Mutex
	write func(line []byte) error // nil: not opened yet
	lost  int

	queue   chan []byte  // of the writer thread
	pending atomic.Int64 // lines in the queue
}

// Write writes one line. It reports no error: there is nobody to report it to.
func (l *lines) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	line := text
	if len(line) > maxLine {
		line = append(bytes.ToValidUTF8(line[:maxLine-len("...\n")], nil), "...\n"...)
	}
	if err := l.writeLine(line); err != nil {
		l.lost++
	}
	return len(text), nil
}

func (l *lines) writeLine(line []byte) error {
	if l.write == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.lost > 0 {
		note := fmt.Appendf(nil, "%s: warning: lines lost before this one: %d (stderr was full)\n", l.program, l.lost)
		if err := l.write(note); err != nil {
			return err
		}
		l.lost = 0
	}
	return l.write(line)
}

// open chooses the way to write. O_NONBLOCK belongs to the open file, which is
// shared with the application and the logger, so it must not be set on our
// descriptor. The file is opened once more instead.
func (l *lines) open() error {
	var st unix.Stat_t
	if err := unix.Fstat(l.fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK: // of systemd's journal; a socket cannot be opened
		l.write = func(line []byte) error {
			return unix.Send(l.fd, line, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
		return nil
	case unix.S_IFIFO, unix.S_IFCHR: // pipe, terminal
	default: // a regular file never blocks for a reader, and has an offset that must not be lost
		l.write = writeTo(l.fd)
		return nil
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", l.fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
		l.write = writeTo(fd)
	case unix.ENXIO: // a FIFO that nobody reads now: the next line tries again
		return err
	default: // for example a pipe that root made, after a change of user
		l.startWriter()
	}
	return nil
}

// writeTo writes to a descriptor, with a system call: through os.File a closed
// pipe would end the program.
func writeTo(fd int) func([]byte) error {
	return func(line []byte) error {
		for {
			_, err := unix.Write(fd, line)
			if err != unix.EINTR {
				return err
			}
		}
	}
}

// startWriter has a thread write to the descriptor itself, which may block it.
func (l *lines) startWriter() {
	l.queue = make(chan []byte, maxQueued)
	write := writeTo(l.fd)
	go func() {
		for line := range l.queue {
			write(line)
			l.pending.Add(-1)
		}
	}()
	l.write = func(line []byte) error {
		l.pending.Add(1)
		select {
		case l.queue <- bytes.Clone(line):
			return nil
		default:
			l.pending.Add(-1)
			return unix.EAGAIN
		}
	}
}

// flush waits a moment for the writer thread, before exit or exec end it.
func (l *lines) flush() {
	if l.queue == nil {
		return
	}
	for end := time.Now().Add(flushTime); l.pending.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
