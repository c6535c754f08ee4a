package integration

import (
	"fmt"
	"gracekit/test/harness"
	"os"
	"strings"
)

// An entry is a line that a job of testdata/app.rb has written: what happened to it, in which process, when.
type entry struct {
	what    string // start or done
	jid     string
	pid     int
	seconds float64 // CLOCK_MONOTONIC
}

// A ledger is the file to which all jobs append.
type ledger struct {
	s    *sandbox
	file string
}

func (l ledger) entries() (all []entry) {
	text, _ := os.ReadFile(l.file)
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			continue // half-written
		}
		var e entry
		if _, err := fmt.Sscan(line, &e.what, &e.jid, &e.pid, &e.seconds); err != nil {
			l.s.Fatalf("ledger: %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// of returns what happened to a job, in order.
func (l ledger) of(jid, what string) (some []entry) {
	for _, e := range l.entries() {
		if e.jid == jid && e.what == what {
			some = append(some, e)
		}
	}
	return some
}

func (l ledger) count(what string) (n int) {
	for _, e := range l.entries() {
		if e.what == what {
			n++
		}
	}
	return n
}

// pids returns the processes that did jobs, in order.
func (l ledger) pids() (pids []int) {
	seen := map[int]bool{}
	for _, e := range l.entries() {
		if !seen[e.pid] {
			seen[e.pid] = true
			pids = append(pids, e.pid)
		}
	}
	return pids
}

// exactlyOnce fails the test unless each of the jobs was started once and done once, and no other was.
func (l ledger) exactlyOnce(jids []string) {
	l.s.Helper()
	started, done := map[string]int{}, map[string]int{}
	for _, e := range l.entries() {
		if e.what == "start" {
			started[e.jid]++
		} else {
			done[e.jid]++
		}
	}
	for _, jid := range jids {
		if started[jid] != 1 || done[jid] != 1 {
			l.s.Errorf("job %s: started %d times, done %d times; want once", jid, started[jid], done[jid])
		}
	}
	if len(started) != len(jids) {
		l.s.Errorf("%d jobs were started, %d enqueued", len(started), len(jids))
	}
}

// leaks has jobs done that each leak 10 MB and take some seconds, until it is enough, and checks that each was done
// exactly once.
func (l ledger) leaks(redis *harness.Redis, seconds float64, enough func() bool) (jids []string) {
	l.s.Helper()
	for done := 0; !enough(); {
		jids = append(jids, redis.Enqueue(8, "LeakJob", 10, seconds)...)
		l.s.Eventually("jobs are taken", func() bool {
			n := l.count("done")
			if n > done {
				done = n
				return true
			}
			return false
		})
		l.s.Eventually("not too many jobs wait", func() bool { return len(jids)-l.count("done") < 8 })
	}
	l.s.Eventually("all jobs are done", func() bool { return l.count("done") >= len(jids) })
	l.exactlyOnce(jids)
	return jids
}
