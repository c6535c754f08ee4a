package integration

import (
	"bufio"
	"fmt"
	"gracekit/test/harness"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A balloon is a process of exactly the size it is told to have: it grows and shrinks by whole mappings, so that
// its RSS has changed when it answers. On TERM it ends.
type balloon struct {
	*harness.Child
	in  io.Writer
	out *bufio.Reader
}

func balloonMain(in io.Reader, out io.Writer) int {
	var held []byte
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if lines.Text() == heartbeat {
			startThread(heartbeat)
			fmt.Fprintln(out, heartbeat)
			continue
		}
		var megabytes int
		fmt.Sscan(lines.Text(), &megabytes)
		if held != nil {
			unix.Munmap(held)
			held = nil
		}
		if megabytes > 0 {
			var err error
			held, err = unix.Mmap(-1, 0, megabytes<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		fmt.Fprintln(out, megabytes)
	}
	return 0
}

// heartbeat is the name of the thread by which Sidekiq is recognised.
const heartbeat = "heartbeat"

// startThread starts a thread of that name, which stays.
func startThread(name string) {
	named := make(chan error)
	var start func()
	start = func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // the main thread, whose name is that of the process
			go start()
			select {}
		}
		named <- os.WriteFile("/proc/thread-self/comm", []byte(name), 0)
		select {}
	}
	go start()
	if err := <-named; err != nil {
		panic(err)
	}
}

// worker is a balloon that has Sidekiq's heartbeat thread.
func (s *sandbox) worker() *balloon {
	s.Helper()
	b := s.balloon()
	fmt.Fprintln(b.in, heartbeat)
	if line, err := b.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != heartbeat {
		s.Fatalf("balloon: %q, %v", line, err)
	}
	return b
}

func (s *sandbox) balloon() *balloon {
	s.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), s.Mark, harness.Role+"="+roleBalloon)
	in, err := c.StdinPipe()
	s.Check(err)
	r, w, err := os.Pipe() // StdoutPipe is closed by Wait, which start calls
	s.Check(err)
	c.Stdout = w
	b := &balloon{s.Start(c), in, bufio.NewReader(r)}
	w.Close()
	s.Cleanup(func() { r.Close() })
	b.holds(s, 0)
	return b
}

// grow tells the balloon how many MB to hold besides its own footprint.
func (b *balloon) grow(megabytes int) { fmt.Fprintln(b.in, megabytes) }

// holds does so, and returns when it has that size.
func (b *balloon) holds(s *sandbox, megabytes int) {
	s.Helper()
	b.grow(megabytes)
	line, err := b.out.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != fmt.Sprint(megabytes) {
		s.Fatalf("balloon: %q, %v", line, err)
	}
}
