package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gracekit/test/harness"
)

// A server of testdata/puma.ru on a unix socket: a real Puma in cluster mode, or unicorn.
type server struct {
	name     string // of the program
	command  string
	title    string // how those of its workers begin
	settings string // a word of those in docs/other-workers.md
}

var (
	puma      = server{"puma", "puma -C " + testdata("puma.rb"), "puma: cluster worker", "puma: cluster worker"}
	preloaded = server{"puma", "env PRELOAD=1 " + puma.command, puma.title, puma.settings}
	unicorn   = server{"unicorn", "unicorn -E none -c " + testdata("unicorn.rb"), "unicorn worker", "STOP_SIGNAL=QUIT"}
)

const webWorkers = 3

// A webServer is one as a service of runsv.
type webServer struct {
	server
	s       *sandbox
	service *harness.Runsv
	master  harness.Process
	client  *http.Client
}

func (s *sandbox) serve(server server) *webServer {
	s.Helper()
	s.Need(server.name)
	s.Script("web/run", "exec 2>&1\nexec "+server.command+" "+testdata("puma.ru")+"\n")
	service := s.Runsv(s.Path("web"), "WEB_SOCKET="+s.Path("socket"))
	connect := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", s.Path("socket")) }
	transport := &http.Transport{DialContext: connect, DisableKeepAlives: true} // each request once, on a connection of its own
	return &webServer{server, s, service, service.Running(), &http.Client{Transport: transport, Timeout: harness.Patience}}
}

// workers waits until the master has all its workers, and none of the given ones.
func (web *webServer) workers(not ...harness.Process) (all []harness.Process) {
	web.s.Helper()
	isOld := func(p harness.Process) bool {
		return slices.ContainsFunc(not, func(old harness.Process) bool { return old.ID() == p.ID() })
	}
	web.s.Eventually("all workers are there", func() bool {
		all = children(web.master, web.title)
		return len(all) == webWorkers && !slices.ContainsFunc(all, isOld)
	})
	return all
}

// get makes a request and returns the pid that answered.
func (web *webServer) get(path string) (pid int, err error) {
	answer, err := web.client.Get("http://web" + path)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %q, %v", answer.Status, text, err)
	}
	return strconv.Atoi(string(text))
}

// crowd makes requests without a pause until stop, which returns the first error; it notes who has answered, by pid.
func (web *webServer) crowd() (answered *sync.Map, stop func() (failed any)) {
	var all sync.WaitGroup
	var stopped atomic.Bool
	var failed atomic.Value
	answered = &sync.Map{}
	for range 3 {
		all.Go(func() {
			for !stopped.Load() {
				pid, err := web.get("/")
				answered.Store(pid, true)
				if err != nil {
					failed.CompareAndSwap(nil, fmt.Sprintf("%s: %v", time.Now().Format("05.000"), err))
				}
			}
		})
	}
	stop = func() any {
		stopped.Store(true)
		all.Wait()
		return failed.Load()
	}
	web.s.Cleanup(func() { stop() })
	return answered, stop
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
	settings := strings.Split(strings.TrimSpace(s.block("docs/other-workers.md", word)), "\n")
	return s.Watch(s.Command("env", append(settings, fmt.Sprintf("MEMORY_KILLER_MAX_RSS=%d", soft), "MEMORY_KILLER_GRACE_TIME=0.3",
		"MEMORY_KILLER_CHECK_INTERVAL=100ms", "memory-killer", "-t", target)...))
}

// Workers that leak are restarted by memory-killer with the documented settings, the parent and the other
// worker go on, and no request fails. When its operator restarts the server the new workers are watched.
func TestWorkersOfAWebServerAreRestartedAndNoRequestFails(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]server{"puma": puma, "puma, preloaded": preloaded, "unicorn": unicorn} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			web := s.serve(server)
			first := web.workers()
			w := s.killerAsDocumented(server.settings, web.service.Dir, s.KB(first[0])+45*1024)
			w.Event("target-up", webWorkers)
			answered, stop := web.crowd()
			web.leak(first[0])
			web.leak(first[1])
			w.Event("restart-done", 2)
			for _, worker := range web.workers(first[:2]...) {
				s.Eventually(worker.ID()+" answers", func() bool { _, ok := answered.Load(worker.PID); return ok })
			}
			if failed := stop(); failed != nil {
				s.Errorf("requests failed, the first at %v", failed)
			}
			if !web.master.Alive() || !first[2].Alive() {
				s.Errorf("the parent lives: %v, the worker that did not leak: %v", web.master.Alive(), first[2].Alive())
			}
			for _, worker := range first[:2] {
				w.WantLines("msg=restart-begin .*id="+worker.ID(), 1)
			}
			w.WantLines("msg=restart-(begin|done)", 4)
			w.WantLines("msg=(restart-failed|restart-postponed|read-failed)", 0)
			web.service.Control("t")
			web.master = web.service.Running(web.master)
			for _, worker := range web.workers() {
				w.Wants(worker, "target-up")
			}
		})
	}
}

// A phased restart, by the command of docs/other-workers.md, replaces all workers and keeps the parent.
func TestPumaInPlaceAsDocumented(t *testing.T) {
	s := newSandbox(t)
	web := s.serve(puma)
	first := web.workers()
	size := s.KB(web.master)
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
	web.workers(first...)
	if !web.master.Alive() {
		s.Error("the parent has exited")
	}
	w.WantLines("restart-failed", 0)
}
