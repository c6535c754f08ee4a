package integration

import (
	"fmt"
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

// A ledger is the file to which all jobs append what happens to them, and in which process: "start JID PID", "done JID PID".
type ledger struct{ s *sandbox }

// variable names the file to a worker.
func (l ledger) variable() string { return "LEDGER=" + l.s.Path("ledger") }

// lines are those so far that begin so, as words.
func (l ledger) lines(begin string) (lines [][]string) {
	for line := range strings.Lines(l.s.Read("ledger")) {
		if strings.HasPrefix(line, begin) && strings.HasSuffix(line, "\n") { // else half-written
			lines = append(lines, strings.Fields(line))
		}
	}
	return lines
}

// await waits until so many lines begin so.
func (l ledger) await(begin string, n int) {
	l.s.Helper()
	l.s.Eventually(fmt.Sprintf("%d jobs: %s", n, begin), func() bool { return len(l.lines(begin)) >= n })
}

// pids are the processes that did jobs, in order.
func (l ledger) pids() (pids []int) {
	for _, line := range l.lines("") {
		if pid := harness.PIDOf(line[2]); !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// exactlyOnce fails the test unless each of the jobs was started once and done once, and no other was.
func (l ledger) exactlyOnce(jids ...string) {
	l.s.Helper()
	times := map[string]int{}
	for _, line := range l.lines("") {
		times[line[0]+" "+line[1]]++
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
	return &jobs{ledger: ledger{s}, redis: s.Redis()}
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
		j.s.Eventually("few jobs wait", func() bool { return len(j.jids)-len(j.lines("done")) < 8 })
	}
	j.allDone()
}

// environment is what a Sidekiq for the jobs needs.
func (j *jobs) environment() []string {
	return []string{"REDIS_URL=" + j.redis.URL(), j.variable()}
}

// conf is what a user would put into the conf/ of the service.
func (j *jobs) conf() map[string]string {
	return map[string]string{
		"SIDEKIQ_APP":     j.s.Dir,
		"SIDEKIQ_USER":    "root", // counts only where root runs the tests
		"SIDEKIQ_COMMAND": "sidekiq -c 2 -r " + testdata("app.rb"),
		"SIDEKIQ_TIMEOUT": "3", // not 2: that long an idle thread waits for its last job, and would swallow one that is pushed back
		"REDIS_URL":       j.redis.URL(),
		"LEDGER":          j.s.Path("ledger"),
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
