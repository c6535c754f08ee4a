package fault

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// commanded is a gracewatch that looks when it is told alone, over a worker.
func (s *stage) commanded(options string) (target *service, j journal, l *child, fifo string) {
	s.Helper()
	target, j = s.worker("worker")
	fifo = s.path("control")
	l = s.watch(target.dir, "-g 0 -i 0 -r 200ms -c "+fifo+" "+options, j.restarter())
	l.event("msg=watching", 1)
	return target, j, l, fifo
}

// A thousand commands at once are one check, or one restart, and it goes on.
func TestAThousandCommandsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j, l, fifo := s.commanded("")
	p := target.running(proc.ID{})
	j.event("START", 1)
	s.command(fifo, strings.Repeat("c", 1000))
	s.command(fifo, strings.Repeat("pu", 500))
	l.event("msg=resumed", 500)
	s.command(fifo, strings.Repeat("t", 1000))
	l.event("msg=restart-done .*reason=control", 1)
	next := target.running(p.ID)
	l.event("msg=target-up .*id="+next.ID.String(), 1)
	s.polls(l.Process)
	j.restartedOnce(p.ID)
	s.command(fifo, strings.Repeat("c", 999)+"x")
	l.exits(0)
}

// Letters that are no commands are passed over, and those between them are obeyed.
func TestUnknownLetters(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j, l, fifo := s.commanded("")
	s.command(fifo, "hello world \n\x00\xff")
	s.polls(l.Process)
	p := target.running(proc.ID{})
	s.grow(p, j)
	j.event("LARGE", 1)
	s.command(fifo, "\n?c\n")
	l.event("msg=restart-done", 1)
	l.never("msg=(paused|resumed)")
}

// A writer that holds the FIFO open keeps nobody from writing, and that it goes away ends nothing.
func TestAWriterThatHoldsTheFIFO(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j, l, fifo := s.commanded("")
	holder, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	s.must(err)
	s.command(fifo, "p")
	l.event("msg=paused", 1)
	s.must(holder.Close())
	s.polls(l.Process)
	s.command(fifo, "u")
	l.event("msg=resumed", 1)
	s.grow(target.running(proc.ID{}), j)
	j.event("LARGE", 1)
	s.command(fifo, "c")
	l.event("msg=restart-done", 1)
}

// A FIFO that is full blocks no writer, and what it holds is obeyed when gracewatch goes on.
func TestAFIFOThatIsFull(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j, l, fifo := s.commanded("")
	s.grow(target.running(proc.ID{}), j)
	j.event("LARGE", 1)
	s.must(l.Signal(unix.SIGSTOP))
	f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
	s.must(err)
	defer f.Close()
	for err == nil {
		_, err = unix.Write(int(f.Fd()), []byte(strings.Repeat("c", 4096))) // Fd makes it blocking
		unix.SetNonblock(int(f.Fd()), true)
	}
	if err != unix.EAGAIN {
		s.Error(err)
	}
	s.must(l.Signal(unix.SIGCONT))
	l.event("msg=restart-done", 1)
	s.polls(l.Process)
	l.times("msg=restart-begin", 1)
}

// A reader that holds the FIFO open would take its commands: gracewatch says so and does not start, until it is gone. One
// that comes later does not end it.
func TestAReaderThatHoldsTheFIFO(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	fifo := s.path("control")
	s.must(unix.Mkfifo(fifo, 0o600))
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0)
	s.must(err)
	_, l := s.watched("watch", target, "-g 0 -i 0 -c "+fifo, j.restarter())
	l.event("another process reads it", 1)
	s.must(reader.Close())
	l.event("msg=watching", 1) // runsv has started it again
	later, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	s.must(err)
	s.must(later.Close())
	s.grow(target.running(proc.ID{}), j)
	j.event("LARGE", 1)
	s.command(fifo, "c")
	l.event("msg=restart-done", 1)
}

// The FIFO deleted, or something else put in its place, gracewatch goes on with its checks.
func TestAFIFOThatIsDeleted(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j := s.worker("worker")
	l := s.watch(target.dir, "-g 0 -i 50ms -c "+s.path("control"), j.restarter())
	l.event("msg=watching", 1)
	s.must(os.Remove(s.path("control")))
	s.grow(target.running(proc.ID{}), j)
	l.event("msg=restart-done", 1)
}

// A command that comes before gracewatch has seen that the service is up again is for the new process.
func TestACommandRightAfterTheStart(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	target, j, l, fifo := s.commanded("")
	p := target.running(proc.ID{})
	j.event("START", 1)
	s.command(fifo, "c")
	s.must(target.tell("d"))
	l.event("msg=target-gone", 1)
	s.must(target.tell("u"))
	next := target.running(p.ID)
	s.waitFor("its status is written", func() bool { code, _ := s.run("svpid", target.dir); return code == 0 })
	s.command(fifo, "t")
	l.event("msg=restart-begin .*id="+next.ID.String()+".*reason=control", 1)
	l.event("msg=restart-done", 1)
}
