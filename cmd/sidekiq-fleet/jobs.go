package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/proc"
	"gracekit/lib/units"
)

const jobsUsage = `usage: sidekiq-fleet jobs [options] [IDENTITY|TARGET]

Print a line for each job that is running, the longest running first:
IDENTITY JID CLASS QUEUE SECONDS. One that was started after the last heartbeat
of its instance (5 s in Sidekiq 6, 10 s from 7 on) is not among them.

      --class GLOB     only jobs of these classes: 'Import* ExportJob'
      --idle           exit 1 while there are such jobs
  -w, --wait DURATION  with --idle: wait up to that long for their end, or that
                       of the instance. Of all classes: it must be quiet, too
  -j, --json           a line of JSON for each: identity, thread, jid, class,
                       queue, seconds
  -q, --quiet          print nothing but errors

IDENTITY is as sidekiq-fleet ps prints it; TARGET a process of this machine: a
pid, PID:STARTTIME, a service directory or a pidfile (see svpid).
`

type jobDescription struct {
	Identity string  `json:"identity"`
	Thread   string  `json:"thread"`
	JID      string  `json:"jid"`
	Class    string  `json:"class"`
	Queue    string  `json:"queue"`
	Seconds  float64 `json:"seconds"`
}

func jobs(above *command, args []string) int {
	c := above.named(jobsUsage)
	var classes globs
	c.Func("class", "", "GLOB", classes.add)
	idle, asJSON := c.Bool("idle", ""), c.Bool("json", "j")
	var wait units.Duration
	c.Var(&wait, "wait", "w")
	words, code := c.begin(above, args, 0, 1)
	if code != cli.Continue {
		return code
	}
	defer c.fleet.Close()
	if c.Given("wait") && (!*idle || len(words) == 0) {
		return c.Misused(errors.New("--wait: needs --idle and an IDENTITY or a TARGET"))
	}
	var running []fleet.Job
	var free bool
	if len(words) == 0 {
		var err error
		if running, err = c.allJobs(classes); err != nil {
			return c.failed(err)
		}
		free = len(running) == 0
	} else {
		in, err := c.find(words[0])
		if errors.Is(err, proc.ErrGone) && c.Given("wait") {
			return cli.Yes // and so are its jobs
		}
		if err != nil {
			return c.failed(err)
		}
		defer in.close()
		if running, free, err = c.jobsOf(in, classes, wait); err != nil {
			return c.failed(err)
		}
	}
	if code := c.printJobs(running, *asJSON); code != cli.Yes || !*idle || free {
		return code
	}
	return cli.No
}

func (c *command) allJobs(classes globs) ([]fleet.Job, error) {
	instances, err := c.fleet.All()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, in := range instances {
		ids = append(ids, in.Identity)
	}
	running, err := c.fleet.Jobs(ids...)
	return classes.of(running), err
}

// jobsOf are the jobs of one instance that are left at the end of the wait, and whether it is free of them.
func (c *command) jobsOf(of instance, classes globs, wait units.Duration) (running []fleet.Job, free bool, err error) {
	waits := c.Given("wait")
	err = c.until(wait, func() (bool, error) {
		in, err := c.fleet.One(of.identity)
		if c.gone(&of, err) && waits {
			running, free = nil, true
			return true, nil
		}
		if err != nil {
			return !waits, err
		}
		all, err := c.fleet.Jobs(of.identity)
		if err != nil {
			return false, err
		}
		running = classes.of(all)
		free = len(running) == 0
		if len(classes) == 0 {
			free = free && in.Busy == 0 && (in.Quiet || !waits)
		}
		return free, nil
	})
	return running, free, err
}

func (c *command) printJobs(running []fleet.Job, asJSON bool) int {
	if c.Quiet {
		return cli.Yes
	}
	var out strings.Builder
	for _, job := range running {
		if asJSON {
			text, err := json.Marshal(jobDescription{job.Identity, job.Thread, job.JID, job.Class, job.Queue, seconds(job.Running)})
			if err != nil {
				panic(err) // there is nothing in it that can't be
			}
			out.WriteString(string(text) + "\n")
			continue
		}
		fmt.Fprintf(&out, "%s %s %s %s %.0f\n", word(job.Identity), word(job.JID), word(job.Class), word(job.Queue), job.Running.Seconds())
	}
	return c.Print(out.String())
}

// globs are patterns of class names; none is any class.
type globs []string

func (g *globs) add(text string) error {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' })
	if len(words) == 0 {
		return fmt.Errorf("%q names no class ('Import*')", text)
	}
	for _, glob := range words {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("%q is no pattern ('Import*')", glob)
		}
	}
	*g = append(*g, words...)
	return nil
}

func (g globs) of(all []fleet.Job) []fleet.Job {
	if len(g) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(job fleet.Job) bool {
		return !slices.ContainsFunc(g, func(glob string) bool {
			match, _ := path.Match(glob, job.Class)
			return match
		})
	})
}

// pause is the time between two questions while something is waited for: a heartbeat is 5 s or 10.
const pause = time.Second

// until asks again and again, up to that long. Redis may be away for a while: that is told once, and is the error
// only at the end. An error of which done says true is the answer.
func (c *command) until(wait units.Duration, ask func() (done bool, err error)) error {
	started, told := time.Now(), false
	for {
		c.fleet.Begin()
		done, err := ask()
		left := wait.Std() - time.Since(started)
		if done || left <= 0 {
			return err
		}
		if err != nil && !told {
			c.Warn("%v; trying again", err)
		}
		told = err != nil
		time.Sleep(min(pause, left))
	}
}
