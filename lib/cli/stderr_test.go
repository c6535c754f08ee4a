package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pipe is one whose descriptors block, as those of a logger do.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// fullPipe is a pipe into which nothing fits any more, as of a logger that
// stands still.
func fullPipe(t *testing.T) (r, w int) {
	t.Helper()
	r, w = pipe(t)
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", w), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	for _, size := range []int{1 << 16, 1} {
		for err = nil; err == nil; {
			_, err = unix.Write(fd, make([]byte, size))
		}
	}
	return r, w
}

// empty reads all that is in a pipe.
func empty(t *testing.T, r int) string {
	t.Helper()
	var text strings.Builder
	buffer := make([]byte, 1<<16)
	for {
		n, err := unix.IoctlGetInt(r, unix.TIOCINQ)
		must(t, err)
		if n == 0 {
			return strings.Trim(text.String(), "\x00")
		}
		n, err = unix.Read(r, buffer)
		must(t, err)
		text.Write(buffer[:n])
	}
}

// inTime fails if what f does takes long: a write that blocks never ends.
func inTime(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("blocked")
	}
}

func TestAFullPipeNeverBlocksAndLostLinesAreCounted(t *testing.T) {
	r, w := fullPipe(t)
	l := &lines{fd: w, program: "prog"}
	inTime(t, func() {
		for i := range 3 {
			fmt.Fprintf(l, "prog: error: lost %d\n", i)
		}
	})
	empty(t, r)
	fmt.Fprint(l, "prog: error: kept\n")
	fmt.Fprint(l, "prog: error: also kept\n")
	want := "prog: warning: lines lost before this one: 3 (stderr was full)\nprog: error: kept\nprog: error: also kept\n"
	if got := empty(t, r); got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if flags, err := unix.FcntlInt(uintptr(w), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the descriptor that is shared with the logger became non-blocking: %#x, %v", flags, err)
	}
}

func TestAFIFOWithoutAReaderIsTriedAgain(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	open := func(flags int) int {
		fd, err := unix.Open(fifo, flags|unix.O_CLOEXEC, 0)
		must(t, err)
		return fd
	}
	r := open(unix.O_RDONLY | unix.O_NONBLOCK)
	w := open(unix.O_WRONLY)
	defer unix.Close(w)
	unix.Close(r)
	l := &lines{fd: w, program: "prog"}
	fmt.Fprint(l, "one\n")
	r = open(unix.O_RDONLY | unix.O_NONBLOCK)
	defer unix.Close(r)
	fmt.Fprint(l, "two\n")
	if got, want := empty(t, r), "prog: warning: lines lost before this one: 1 (stderr was full)\ntwo\n"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

func TestWhereThePipeCannotBeOpenedAThreadWrites(t *testing.T) {
	r, w := fullPipe(t)
	l := &lines{fd: w, program: "prog"}
	l.startWriter()
	inTime(t, func() {
		for i := range 2 * maxQueued {
			fmt.Fprintf(l, "line %d\n", i)
		}
		l.flush()
	})
	if l.lost == 0 {
		t.Error("the queue has no bound")
	}
	inTime(t, func() {
		text := ""
		for i := 0; !strings.Contains(text, "(stderr was full)\nafter "); i++ {
			fmt.Fprintf(l, "after %d\n", i)
			text += empty(t, r)
		}
		if !strings.HasPrefix(text, "line 0\nline 1\nline 2\n") {
			t.Errorf("%.200q", text)
		}
	})
	close(l.queue)
}

func TestASocketNobodyReadsNeverBlocks(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	l := &lines{fd: fds[1], program: "prog"}
	inTime(t, func() {
		for l.lost == 0 {
			l.Write([]byte(strings.Repeat("x", 1000) + "\n"))
		}
	})
}

func TestARegularFileKeepsItsOffset(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(name) // without O_APPEND, as 2>log has it
	must(t, err)
	defer f.Close()
	f.WriteString("of the application\n")
	l := &lines{fd: int(f.Fd()), program: "prog"}
	fmt.Fprint(l, "one\n")
	f.WriteString("of the application\n")
	fmt.Fprint(l, "two\n")
	if got, _ := os.ReadFile(name); string(got) != "of the application\none\nof the application\ntwo\n" {
		t.Errorf("%q", got)
	}
}

func TestALineIsAtMostWhatAPipeTakesWhole(t *testing.T) {
	r, w := pipe(t)
	l := &lines{fd: w, program: "prog"}
	fmt.Fprintf(l, "%s\n", strings.Repeat("é", 5000))
	got := empty(t, r)
	if len(got) > maxLine || len(got) < maxLine-8 || !strings.HasSuffix(got, "é...\n") {
		t.Errorf("%d bytes, %q", len(got), got[len(got)-20:])
	}
}
