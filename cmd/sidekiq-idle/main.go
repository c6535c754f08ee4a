// Command sidekiq-idle tells whether a Sidekiq is running jobs, and waits for
// their end.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
	"gracekit/lib/units"
)

const usage = `usage: sidekiq-idle [-w DURATION] [-q] [-j] TARGET

Tell whether jobs are running in the Sidekiqs of a target: in the target itself,
or in each Sidekiq below it. Print a line for each: BUSY CONCURRENCY STATE, and
its identity if there are several. STATE is running, or stopping for one that is
quiet. The numbers are those of the title, which is up to 5 s old in Sidekiq 6
and up to 10 s from 7 on.

  -w, --wait DURATION  wait until all running jobs have ended, or the processes
                       have, at most this long. Send the quiet signal first: a
                       Sidekiq that accepts jobs is never idle here
  -j, --json           JSON lines: id, busy, concurrency, state, version, tag
  -q, --quiet          print only errors
  -v, --verbose        print more messages: what showed that it is idle
  -h, --help           print this text
      --version        print the version

TARGET is a pid, PID:STARTTIME, a service directory, a pidfile or the name of a
service (see svpid). DURATION is seconds, or 500ms, 90s, 15m, inf.

Under JRuby and RUBY_MN_THREADS its threads have no names. With -w and REDIS_URL
(or REDIS_PROVIDER) set, sidekiq-fleet is run for such a process.

Exit: 0 no job is running; 1 some are; 100 used wrongly; 111 it cannot be known
      (not a Sidekiq, booting, no process; with -w a process that has exited is 0).
`

type description struct {
	ID          string `json:"id"`
	Busy        int    `json:"busy"`
	Concurrency *int   `json:"concurrency"` // null where there is no title to read
	State       string `json:"state"`
	Version     string `json:"version"`
	Tag         string `json:"tag"`
}

func main() { cli.Main("sidekiq-idle", usage, run) }

func run(cmd *cli.Command) error {
	var wait units.Duration
	cmd.Var(&wait, "wait", "w")
	asJSON := cmd.Bool("json", "j")
	words, err := cmd.Args(1, 1)
	if err != nil {
		return err
	}
	target, err := service.Parse(words[0])
	if err != nil {
		return cli.Misuse(err)
	}
	q := query{Command: cmd, waits: cmd.Given("wait"), json: *asJSON, lister: sidekiq.NewLister(), checked: map[proc.ID]bool{}}
	if q.waits && wait != units.Never {
		q.deadline = time.Now().Add(wait.Std())
	}
	if q.target, err = target.Open(); err == nil {
		defer q.target.Close()
		if err = q.checkAll(); err != nil {
			err = fmt.Errorf("%s: %w", target.Text, err)
		}
	}
	switch {
	case errors.Is(err, proc.ErrGone) && q.waits:
		cmd.Info("%v", err)
	case errors.Is(err, sidekiq.ErrNotSidekiq) && q.waits:
		return q.askRedis(err)
	case err != nil:
		return err
	}
	switch {
	case q.busy:
		return cli.Exit(cli.No)
	case q.unknown:
		return cli.Exit(cli.Refused)
	}
	return nil
}

// query is what was asked, and the answer so far.
type query struct {
	*cli.Command
	target   *proc.Process
	waits    bool
	deadline time.Time // zero: none
	json     bool
	lister   *sidekiq.Lister
	checked  map[proc.ID]bool
	busy     bool // one runs jobs
	unknown  bool // of one it cannot be known
}

// checkAll checks each Sidekiq of the target. While it waits for one, the parent
// can start another.
func (q *query) checkAll() error {
	for {
		ids, err := q.list()
		if err != nil {
			return err
		}
		var unchecked []proc.ID
		for _, id := range ids {
			if !q.checked[id] {
				unchecked = append(unchecked, id)
			}
		}
		for _, id := range unchecked {
			q.checked[id] = true
			if err := q.check(id, len(ids) > 1); err != nil {
				return err
			}
		}
		if len(unchecked) == 0 || !q.waits {
			return nil
		}
	}
}

// list lists the Sidekiqs of the target. While one boots it waits if it may.
func (q *query) list() ([]proc.ID, error) {
	for {
		ids, err := q.lister.List(q.target)
		switch {
		case err != nil || len(ids) > 0 || len(q.checked) > 0:
			return ids, err
		case !q.lister.IsBooting(q.target):
			return nil, sidekiq.ErrNotSidekiq
		case !q.waits, !q.deadline.IsZero() && !time.Now().Before(q.deadline):
			return nil, sidekiq.ErrBooting
		}
		if _, err := proc.Poll([]unix.PollFd{q.target.PollFd()}, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// check checks one Sidekiq, and prints what it shows.
func (q *query) check(id proc.ID, several bool) error {
	p, err := proc.OpenID(id)
	if err == nil {
		defer p.Close()
		watch := sidekiq.NewWatch(p)
		var s sidekiq.Status
		if q.waits {
			s, err = watch.Wait(q.deadline)
		} else {
			s, err = watch.Now()
		}
		if err == nil {
			return q.report(id, s, several)
		}
	}
	switch {
	case errors.Is(err, proc.ErrGone) && (q.waits || several):
		q.Info("%v: %v", id, err)
		return nil
	case several:
		q.unknown = true
		q.Error("%v: %v", id, err)
		return nil
	}
	return err
}

func (q *query) report(id proc.ID, s sidekiq.Status, several bool) error {
	switch {
	case s.Idle:
		q.Info("%v: its %s that it is idle", id, shows[s.Evidence])
	case q.waits && s.Busy == 0:
		q.busy = true
		q.Warn("%v: the title says 0 busy, but not stopping: "+
			"it accepts jobs, or has had no heartbeat since the quiet signal", id)
	case s.Busy > 0:
		q.busy = true
	}
	if q.Quiet {
		return nil
	}
	line := text(s)
	if q.json {
		line = jsonText(id, s)
	} else if several {
		line += " " + id.String()
	}
	return q.Write(line + "\n")
}

func text(s sidekiq.Status) string {
	concurrency := "-" // by the threads, while there is no title to read
	if s.HasTitle {
		concurrency = strconv.Itoa(s.Concurrency)
	}
	return fmt.Sprintf("%d %s %s", s.Busy, concurrency, state(s))
}

func jsonText(id proc.ID, s sidekiq.Status) string {
	d := description{ID: id.String(), Busy: s.Busy, State: state(s), Version: s.Version, Tag: s.Tag}
	if s.HasTitle {
		d.Concurrency = &s.Concurrency
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return string(text)
}

func state(s sidekiq.Status) string {
	if s.Stopping {
		return "stopping"
	}
	return "running"
}

// askRedis becomes sidekiq-fleet for a process that shows nothing of itself.
func (q *query) askRedis(why error) error {
	if os.Getenv("REDIS_URL") == "" && os.Getenv("REDIS_PROVIDER") == "" {
		return fmt.Errorf("%w (if it is one under JRuby or RUBY_MN_THREADS, set REDIS_URL to have sidekiq-fleet asked)", why)
	}
	wait := "inf"
	if !q.deadline.IsZero() {
		wait = fmt.Sprintf("%.3f", proc.Until(q.deadline).Seconds())
	}
	argv := []string{"sidekiq-fleet", "jobs", "--idle", "--wait", wait}
	for option, given := range map[string]bool{"--quiet": q.Quiet, "--json": q.json, "--verbose": q.Verbose} {
		if given {
			argv = append(argv, option)
		}
	}
	return q.Exec(append(argv, q.target.ID.String()))
}

// shows completes the message of what showed that a Sidekiq is idle.
var shows = map[string]string{"title": "title shows", "threads": "threads show"}
