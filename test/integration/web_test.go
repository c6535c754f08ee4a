package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gracekit/test/harness"
)

// A webServer is a real Puma in cluster mode, or unicorn, as a service of runsv that serves testdata/puma.ru on a unix socket.
type webServer struct {
	s       *sandbox
	service *harness.Runsv
	socket  string
	title   string // how those of its workers begin
}

const webWorkers = 3

func (s *sandbox) puma(preload string) *webServer {
	return s.webServer("puma", "puma: cluster worker", "exec puma -C "+s.testdata("puma.rb"), "PRELOAD="+preload)
}

func (s *sandbox) unicorn() *webServer {
	return s.webServer("unicorn", "unicorn worker", "exec unicorn -E none -c "+s.testdata("unicorn.rb"))
}

func (s *sandbox) webServer(program, title, command string, env ...string) *webServer {
	s.Helper()
	s.Need(program)
	s.Script("web/run", "exec 2>&1\n"+command+" "+s.testdata("puma.ru")+"\n")
	web := &webServer{s: s, socket: s.Path("socket"), title: title}
	web.service = s.Runsv(s.Path("web"), append(env, "WEB_SOCKET="+web.socket)...)
	return web
}

// workers waits until a master has all its workers, and none of the given ones.
func (web *webServer) workers(master harness.Process, not ...harness.Process) (all []harness.Process) {
	web.s.Helper()
	web.s.Eventually("all workers are there", func() bool {
		all = titled(master, web.title)
		return len(all) == webWorkers && !slices.ContainsFunc(all, func(p harness.Process) bool { return slices.Contains(ids(not), p.ID()) })
	})
	return all
}

func ids(processes []harness.Process) (ids []string) {
	for _, p := range processes {
		ids = append(ids, p.ID())
	}
	return ids
}

// titled are the children of a process whose title begins with a text.
func titled(parent harness.Process, prefix string) (found []harness.Process) {
	for _, p := range harness.Processes() {
		if p.PPID == parent.PID && strings.HasPrefix(p.Title(), prefix) {
			found = append(found, p)
		}
	}
	return found
}

// get makes a request on a connection of its own, once, and returns the pid that answered.
func (web *webServer) get(path string) (pid int, err error) {
	c, err := net.Dial("unix", web.socket)
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

// A crowd makes requests without a pause until it is stopped, and keeps those that failed.
type crowd struct {
	stop     chan struct{}
	all      sync.WaitGroup
	mu       sync.Mutex
	answered map[int]int // by pid
	failed   []error
}

func (web *webServer) crowd() *crowd {
	c := &crowd{stop: make(chan struct{}), answered: map[int]int{}}
	for range 3 {
		c.all.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				pid, err := web.get("/")
				c.mu.Lock()
				c.answered[pid]++
				if err != nil {
					c.failed = append(c.failed, fmt.Errorf("%s: %w", time.Now().Format("05.000"), err))
				}
				c.mu.Unlock()
			}
		})
	}
	web.s.Cleanup(c.end)
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

// leak has a worker grow by 64 MB.
func (web *webServer) leak(worker harness.Process) {
	web.s.Helper()
	path := fmt.Sprintf("/leak/%d", worker.PID)
	web.s.Eventually(worker.ID()+" leaks", func() bool {
		pid, err := web.get(path)
		if err != nil {
			web.s.Fatalf("%s: %v", path, err)
		}
		return pid == worker.PID
	})
}

// killerAsDocumented watches a service of runsv by memory-killer with the settings of a block of docs/other-workers.md that
// has a word, but with a limit and times for a test.
func (s *sandbox) killerAsDocumented(word, target string, soft int) *harness.Log {
	s.Helper()
	c := s.Command("memory-killer", "-t", target)
	c.Env = append(c.Env, strings.Split(strings.TrimSpace(s.block("docs/other-workers.md", word)), "\n")...)
	c.Env = append(c.Env, fmt.Sprintf("MEMORY_KILLER_MAX_RSS=%d", soft), "MEMORY_KILLER_GRACE_TIME=0.3", "MEMORY_KILLER_CHECK_INTERVAL=100ms")
	return s.Watch(c)
}

// Workers that leak are restarted one at a time by memory-killer with the documented settings, the parent and the other
// worker go on, and no request fails. When its operator restarts the server the new workers are watched.
func TestWorkersOfAWebServerAreRestartedAndNoRequestFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server   func(s *sandbox) *webServer
		settings string // a word of theirs
	}{
		"puma":            {func(s *sandbox) *webServer { return s.puma("0") }, "puma: cluster worker"},
		"puma, preloaded": {func(s *sandbox) *webServer { return s.puma("1") }, "puma: cluster worker"},
		"unicorn":         {(*sandbox).unicorn, "STOP_SIGNAL=QUIT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			web := c.server(s)
			master := web.service.Running()
			first := web.workers(master)
			w := s.killerAsDocumented(c.settings, web.service.Dir, s.KB(first[0])+45*1024)
			w.Event("target-up", webWorkers)
			load := web.crowd()
			web.leak(first[0])
			web.leak(first[1])
			w.Event("restart-done", 2)
			for _, worker := range web.workers(master, first[:2]...) {
				load.answers(s, worker)
			}
			load.check(s)
			if !master.Alive() || !first[2].Alive() {
				s.Errorf("the parent lives: %v, the worker that did not leak: %v", master.Alive(), first[2].Alive())
			}
			s.wantInTurn(w, 2)
			web.service.Control("t")
			for _, worker := range web.workers(web.service.Running(master)) {
				w.Wants(worker, "target-up")
			}
		})
	}
}

// wantInTurn: the restarts were one at a time, each of another worker, and each was replaced before the next.
func (s *sandbox) wantInTurn(w *harness.Log, restarts int) {
	s.Helper()
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
			if children != webWorkers {
				s.Errorf("begun with %d workers: %s", children, e.Line)
			}
			restarted[e.Fields["id"]] = true
			seen = append(seen, e.Name)
		case "restart-done":
			seen = append(seen, e.Name)
		case "restart-failed", "restart-postponed", "read-failed":
			s.Error(e.Line)
		}
	}
	want := slices.Repeat([]string{"restart-begin", "restart-done"}, restarts)
	if !slices.Equal(seen, want) || len(restarted) != restarts {
		s.Errorf("%v of %d workers, want %v of %d", seen, len(restarted), want, restarts)
	}
}

// A phased restart, by the command of docs/other-workers.md, replaces all workers and keeps the parent.
func TestPumaInPlaceAsDocumented(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	web := s.puma("0")
	master := web.service.Running()
	first := web.workers(master)
	size := s.KB(master)
	for _, worker := range first {
		size += s.KB(worker)
	}
	command := strings.TrimSpace(s.block("docs/other-workers.md", "--in-place"))
	command = strings.Replace(command, "/etc/service/puma", web.service.Dir, 1)
	command = strings.Replace(command, "-s 2G", fmt.Sprintf("-s %d -g 0.3 -i 100ms", size+45*1024), 1)
	w := s.Watch(s.Command("sh", "-c", "exec "+command))
	w.Event("watching", 1)
	web.leak(first[0])
	w.Event("restart-done", 1)
	web.workers(master, first...)
	if !master.Alive() {
		s.Error("the parent has exited")
	}
	w.WantLines("restart-failed", 0)
}
