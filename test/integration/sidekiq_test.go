package integration

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"gracekit/test/harness"
)

// The limits of these tests: a Sidekiq that has just booted has 30 MB.
const (
	softKB      = "90000"
	beyondLimit = 120 // MB that a job leaks to be over it at once
)

var quickWatch = map[string]string{
	"SIDEKIQ_MEMORY_KILLER_MAX_RSS":        softKB,
	"SIDEKIQ_MEMORY_KILLER_GRACE_TIME":     "1",
	"SIDEKIQ_MEMORY_KILLER_CHECK_INTERVAL": "1",
}

// A ledger is the file to which all jobs append.
type ledger struct {
	s    *sandbox
	file string
}

// An entry is a line that a job has written: what happened to it, and in which process.
type entry struct {
	what string // start or done
	jid  string
	pid  int
}

func (l ledger) entries() (all []entry) {
	text, _ := os.ReadFile(l.file)
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			continue // half-written
		}
		var e entry
		if _, err := fmt.Sscan(line, &e.what, &e.jid, &e.pid); err != nil {
			l.s.Fatalf("ledger: %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// of are the processes in which that happened to a job, in order.
func (l ledger) of(jid, what string) (pids []int) {
	for _, e := range l.entries() {
		if e.jid == jid && e.what == what {
			pids = append(pids, e.pid)
		}
	}
	return pids
}

func (l ledger) count(what string) (n int) {
	for _, e := range l.entries() {
		if e.what == what {
			n++
		}
	}
	return n
}

// await waits until so many jobs have started, or are done.
func (l ledger) await(what string, n int) {
	l.s.Helper()
	l.s.Eventually(fmt.Sprintf("%d jobs: %s", n, what), func() bool { return l.count(what) >= n })
}

// pids are the processes that did jobs, in order.
func (l ledger) pids() (pids []int) {
	for _, e := range l.entries() {
		if !slices.Contains(pids, e.pid) {
			pids = append(pids, e.pid)
		}
	}
	return pids
}

// exactlyOnce fails the test unless each of the jobs was started once and done once, and no other was.
func (l ledger) exactlyOnce(jids ...string) {
	l.s.Helper()
	times := map[string]int{}
	for _, e := range l.entries() {
		times[e.what+" "+e.jid]++
	}
	for _, jid := range jids {
		if started, done := times["start "+jid], times["done "+jid]; started != 1 || done != 1 {
			l.s.Errorf("job %s: started %d times, done %d times; want once", jid, started, done)
		}
	}
	if len(times) != 2*len(jids) {
		l.s.Errorf("%d jobs were enqueued, but these ran: %v", len(jids), times)
	}
}

// jobs are those of testdata/app.rb, in a Redis of the test's own.
type jobs struct {
	ledger
	redis *harness.Redis
	jids  []string // of all that were enqueued
}

func (s *sandbox) jobs() *jobs {
	s.Helper()
	s.Need("sidekiq")
	return &jobs{ledger: ledger{s, s.Path("ledger")}, redis: s.Redis()}
}

func (j *jobs) enqueue(n int, class string, args ...any) (jids []string) {
	j.s.Helper()
	jids = j.redis.Enqueue(n, class, args...)
	j.jids = append(j.jids, jids...)
	return jids
}

// wantQueued compares how many jobs are in Redis.
func (j *jobs) wantQueued(want int) {
	j.s.Helper()
	if n := j.redis.Command("LLEN", "queue:default"); n != fmt.Sprint(want) {
		j.s.Errorf("%s jobs are in the queue, want %d", n, want)
	}
}

// allDone waits until all that were enqueued are done, each of them once.
func (j *jobs) allDone() {
	j.s.Helper()
	j.await("done", len(j.jids))
	j.exactlyOnce(j.jids...)
}

// leak has jobs done that each leak 10 MB and take some seconds, until it is enough, and each of them once.
func (j *jobs) leak(seconds float64, enough func() bool) {
	j.s.Helper()
	for !enough() {
		j.enqueue(8, "LeakJob", 10, seconds)
		j.s.Eventually("few jobs wait", func() bool { return len(j.jids)-j.count("done") < 8 })
	}
	j.allDone()
}

// environment is what a Sidekiq for the jobs needs.
func (j *jobs) environment() []string {
	return []string{"REDIS_URL=" + j.redis.URL(), "LEDGER=" + j.file}
}

// conf is what a user would put into the conf/ of the service.
func (j *jobs) conf() map[string]string {
	return map[string]string{
		"SIDEKIQ_APP":     j.s.Dir,
		"SIDEKIQ_USER":    "root", // counts only where root runs the tests
		"SIDEKIQ_COMMAND": "sidekiq -c 2 -r " + testdata("app.rb"),
		"SIDEKIQ_TIMEOUT": "3", // not 2: that long an idle thread waits for its last job, and would swallow one that is pushed back
		"REDIS_URL":       j.redis.URL(),
		"LEDGER":          j.file,
	}
}

// start starts a Sidekiq for the jobs without a supervisor, by a command, and waits until it has booted.
func (j *jobs) start(command ...string) *harness.Child {
	j.s.Helper()
	c := j.s.Command(command[0], command[1:]...)
	c.Env = append(c.Env, j.environment()...)
	c.Stdout, c.Stderr = j.s.Output("sidekiq.log")
	p := j.s.Start(c)
	j.s.boots(p.Process)
	return p
}

// A sidekiq is a real Sidekiq under a real runsv, from a copy of runit/sidekiq.
type sidekiq struct {
	*harness.Runsv
	*jobs
}

func (s *sandbox) sidekiq(conf map[string]string) *sidekiq {
	s.Helper()
	return s.jobs().service("sidekiq", conf)
}

// service starts Sidekiq as a service of that name, with conf in its conf/.
func (j *jobs) service(name string, conf map[string]string) *sidekiq {
	j.s.Helper()
	dir := j.s.ServiceDir("runit/sidekiq", name)
	j.s.Conf(dir, j.conf())
	j.s.Conf(dir, conf)
	return &sidekiq{j.s.Runsv(dir), j}
}

// watched starts runit/sidekiq-memory-killer beside Sidekiq, with quickWatch and conf in its conf/, and follows its log.
func (k *sidekiq) watched(conf map[string]string) (events *harness.Log) {
	k.s.Helper()
	dir := k.s.ServiceDir("runit/sidekiq-memory-killer", "sidekiq-memory-killer")
	k.s.Conf(dir, map[string]string{"MEMORY_KILLER_TARGET": k.Dir})
	k.s.Conf(dir, quickWatch)
	k.s.Conf(dir, conf)
	k.s.Runsv(dir)
	return k.s.Follow(dir + "/log/main/current")
}

// working waits for a Sidekiq that has booted, other than the given ones, and returns its process.
func (k *sidekiq) working(not ...harness.Process) harness.Process {
	k.s.Helper()
	p := k.Running(not...)
	k.s.boots(p)
	return p
}

func (s *sandbox) boots(p harness.Process) {
	s.Helper()
	s.Eventually("Sidekiq has booted", func() bool { return booted(p) })
}

// booted: from its first heartbeat on Sidekiq has its title, and handlers for all signals.
func booted(p harness.Process) bool { return bootedTitle.MatchString(p.Title()) }

var bootedTitle = regexp.MustCompile(`^sidekiq [0-9]`)
