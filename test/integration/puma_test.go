package integration

import (
	"bufio"
	"fmt"
	"gracekit/test/harness"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A puma is a real Puma in cluster mode, with testdata/puma.ru, on a unix socket.
type puma struct {
	*sandbox
	socket string
	env    []string
}

func (s *sandbox) puma(preload string) *puma {
	s.Helper()
	s.Need("puma")
	socket := s.Path("socket")
	return &puma{s, socket, []string{"PUMA_SOCKET=" + socket, "PRELOAD=" + preload}}
}

// arguments are those of its command.
func (p *puma) arguments() []string {
	return []string{"-C", p.testdata("puma.rb"), p.testdata("puma.ru")}
}

const pumaWorkers = 3

// workers are those of a master that have booted.
func (p *puma) workers(master harness.Process) (booted []harness.Process) {
	for _, w := range harness.Processes() {
		if w.PPID == master.PID && strings.HasPrefix(w.Title(), "puma: cluster worker") {
			booted = append(booted, w)
		}
	}
	return booted
}

func (p *puma) hasWorkers(master harness.Process) (all []harness.Process) {
	p.Helper()
	p.Eventually("all workers are there", func() bool {
		all = p.workers(master)
		return len(all) == pumaWorkers
	})
	return all
}

// get makes a request on a connection of its own, once, and returns the pid that answered.
func (p *puma) get(path string) (pid int, err error) {
	c, err := net.Dial("unix", p.socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: puma\r\nConnection: close\r\n\r\n", path); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %q, %v", answer.Status, text, err)
	}
	return strconv.Atoi(string(text))
}

// A crowd makes requests without a pause until it is told to stop, and keeps those that failed.
type crowd struct {
	stop     chan struct{}
	all      sync.WaitGroup
	mu       sync.Mutex
	answered map[int]int // by pid
	failed   []error
}

func (p *puma) crowd() *crowd {
	c := &crowd{stop: make(chan struct{}), answered: map[int]int{}}
	for range 3 {
		c.all.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				pid, err := p.get("/")
				c.mu.Lock()
				c.answered[pid]++
				if err != nil {
					c.failed = append(c.failed, fmt.Errorf("%s: %w", time.Now().Format("05.000"), err))
				}
				c.mu.Unlock()
			}
		})
	}
	p.Cleanup(c.end)
	return c
}

func (c *crowd) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.all.Wait()
}

// check ends the crowd; none of its requests may have failed.
func (c *crowd) check(s *sandbox) {
	s.Helper()
	c.end()
	n := 0
	for _, answers := range c.answered {
		n += answers
	}
	s.Logf("%d requests, answered by %d workers", n, len(c.answered))
	if len(c.failed) > 0 {
		s.Errorf("%d of %d requests failed, the first at %v", len(c.failed), n, c.failed[0])
	}
}

// answers waits until a worker has answered a request.
func (c *crowd) answers(s *sandbox, w harness.Process) {
	s.Helper()
	s.Eventually(fmt.Sprintf("%d answers", w.PID), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.answered[w.PID] > 0
	})
}

// leak has a worker grow beyond the limit.
func (p *puma) leak(worker harness.Process) {
	p.Helper()
	path := fmt.Sprintf("/leak/%d", worker.PID)
	p.Eventually(worker.ID()+" leaks", func() bool {
		pid, err := p.get(path)
		if err != nil {
			p.Fatalf("%s: %v", path, err)
		}
		return pid == worker.PID
	})
}

// limit is a soft limit that a worker is over once it has leaked.
func (p *puma) limit(worker harness.Process) string {
	p.Helper()
	return fmt.Sprint(p.KB(worker) + 40*1024)
}

// Workers of a real Puma that leak get TERM one at a time, the master starts the next, the others go on, and no
// request fails.
func TestPumaWorkersAreRestartedAndNoRequestFails(t *testing.T) {
	t.Parallel()
	for name, preload := range map[string]string{"each worker loads the application": "0", "preloaded": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			p := s.puma(preload)
			c := s.Command("puma", p.arguments()...)
			c.Env = append(c.Env, p.env...)
			c.Stdout, c.Stderr = s.Output("puma.log")
			master := s.Start(c)
			first := p.hasWorkers(master.Process)
			w := s.Gracewatch("-S", "children", "-s", p.limit(first[0]), "-g", "500ms", "-i", "50ms", "-r", "20", master.ID(),
				"pgsignal", "-p", "{}", "TERM/60")
			w.Event("watching", 1)
			load := p.crowd()
			for _, worker := range first {
				p.leak(worker)
			}
			w.Event("restart-done", 3)
			for _, worker := range p.hasWorkers(master.Process) {
				load.answers(s, worker)
			}
			load.check(s)
			if !master.Alive() {
				s.Error("the master is gone")
			}
			p.inTurn(w, 3)
		})
	}
}

// inTurn: the restarts were one at a time, each of another worker, and each was replaced before the next.
func (p *puma) inTurn(w *harness.Log, restarts int) {
	p.Helper()
	var seen []string
	restarted := map[string]bool{}
	children := 0
	for _, e := range w.Seen() {
		switch e.Name {
		case "target-up":
			children++
		case "target-gone":
			children--
		case "restart-begin":
			if children != pumaWorkers {
				p.Errorf("begun with %d workers: %s", children, e.Line)
			}
			restarted[e.Fields["id"]] = true
			seen = append(seen, e.Name)
		case "restart-done":
			seen = append(seen, e.Name)
		case "restart-failed", "restart-postponed", "read-failed":
			p.Error(e.Line)
		}
	}
	want := slices.Repeat([]string{"restart-begin", "restart-done"}, restarts)
	if !slices.Equal(seen, want) || len(restarted) != restarts {
		p.Errorf("%v of %d workers, want %v of %d", seen, len(restarted), want, restarts)
	}
}

// A service under runsv: the workers are found again when the master itself is restarted by its operator.
func TestPumaAsAService(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.puma("0")
	s.Script("puma/run", "exec 2>&1\nexec puma "+strings.Join(p.arguments(), " ")+"\n")
	v := s.Runsv(s.Path("puma"), p.env...)
	master := v.Running()
	first := p.hasWorkers(master)
	w := s.Gracewatch("-S", "children", "-s", p.limit(first[0]), "-g", "200ms", "-i", "50ms", "-r", "20", v.Dir, "pgsignal", "-p", "{}", "TERM/60")
	w.Event("target-up", pumaWorkers)
	v.Control("t")
	next := v.Running(master)
	workers := p.hasWorkers(next)
	for _, worker := range workers {
		w.Wants(worker, "target-up")
	}
	p.leak(workers[2])
	w.Event("restart-done", 1)
	w.Wants(workers[2], "target-up", "over-soft", "grace-over", "restart-begin", "restart-done", "target-gone")
	if !next.Alive() || !s.Exists("puma/supervise/gracewatch") {
		s.Errorf("the master lives: %v; its state is kept: %v", next.Alive(), s.Exists("puma/supervise/gracewatch"))
	}
}
