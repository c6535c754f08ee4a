package main

import (
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

Print a line for each running job, the longest running first:
IDENTITY JID CLASS QUEUE SECONDS. A job that was started after the last heartbeat
of its instance (5 s in Sidekiq 6, 10 s from 7 on) is not listed.

      --class GLOB     only jobs of these classes: 'Import* ExportJob'
      --idle           exit 1 while such jobs are running
  -w, --wait DURATION  with --idle: wait at most that long until they have
                       ended, or the instance has exited. Without --class the
                       instance must be quiet as well
  -j, --json           a line of JSON for each: identity, thread, jid, class,
                       queue, seconds
  -q, --quiet          print nothing but errors

IDENTITY is as sidekiq-fleet ps prints it; TARGET a process of this machine: a
pid, PID:STARTTIME, a service or a pidfile (see svpid): its Sidekiqs.
`

type jobDescription struct {
	Identity string  `json:"identity"`
	Thread   string  `json:"thread"`
	JID      string  `json:"jid"`
	Class    string  `json:"class"`
	Queue    string  `json:"queue"`
	Seconds  float64 `json:"seconds"`
}

func jobs(above *command, args []string) error {
	c := above.named(jobsUsage)
	var classes globs
	c.Func("class", "", "GLOB", classes.add)
	idle, asJSON := c.Bool("idle", ""), c.Bool("json", "j")
	var wait units.Duration
	c.Var(&wait, "wait", "w")
	words, err := c.begin(args, 0, 1)
	if err != nil {
		return err
	}
	defer c.fleet.Close()
	if c.Given("wait") && (!*idle || len(words) == 0) {
		return cli.Misusef("--wait: needs --idle and an IDENTITY or a TARGET")
	}
	var running []fleet.Job
	var free bool
	if len(words) == 0 {
		if running, err = c.allJobs(classes); err != nil {
			return c.result(err)
		}
		free = len(running) == 0
	} else {
		s, err := c.find(words[0])
		if errors.Is(err, proc.ErrGone) && c.Given("wait") {
			return nil // and so have its jobs
		}
		if err != nil {
			return c.result(err)
		}
		defer s.close()
		if running, free, err = c.jobsOf(s, classes, wait, c.Given("wait")); err != nil {
			return c.result(err)
		}
	}
	if err := c.printJobs(running, *asJSON); err != nil {
		return err
	}
	if *idle && !free {
		return cli.Exit(cli.No)
	}
	return nil
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

// jobsOf are the jobs of a subject that are running at the end of the wait, and whether it is free of them.
func (c *command) jobsOf(s *subject, classes globs, wait units.Duration, waits bool) (running []fleet.Job, free bool, err error) {
	err = c.until(wait, func() (bool, error) {
		running, free = nil, true
		for _, of := range s.instances {
			in, err := c.fleet.One(of.identity)
			if c.hasExited(of, err) && waits {
				continue
			}
			if err != nil {
				return !waits, err
			}
			all, err := c.fleet.Jobs(of.identity)
			if err != nil {
				return false, err
			}
			some := classes.of(all)
			running = append(running, some...)
			free = free && len(some) == 0
			if len(classes) == 0 {
				free = free && in.Busy == 0 && (in.Quiet || !waits)
			}
		}
		return free, nil
	})
	return running, free, err
}

func (c *command) printJobs(running []fleet.Job, asJSON bool) error {
	if c.Quiet {
		return nil
	}
	var out strings.Builder
	for _, job := range running {
		if asJSON {
			out.WriteString(cli.JSONLine(jobDescription{job.Identity, job.Thread, job.JID, job.Class, job.Queue, seconds(job.Running)}))
			continue
		}
		fmt.Fprintf(&out, "%s %s %s %s %.0f\n", word(job.Identity), word(job.JID), word(job.Class), word(job.Queue), job.Running.Seconds())
	}
	return c.Write(out.String())
}

// globs are patterns of class names; none is any class.
type globs []string

func (g *globs) add(text string) error {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\n' })
	if len(words) == 0 {
		return fmt.Errorf("invalid list %q (want patterns: Import* ExportJob)", text)
	}
	for _, glob := range words {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("invalid pattern %q (want Import*)", glob)
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

// pause is the time between two questions during a wait: a heartbeat is 5 s or 10.
const pause = time.Second

// until asks again and again, at most that long. Redis may be away for a while: that is reported once, and is the error
// only at the end. If done is true, the error that comes with it is the answer.
func (c *command) until(wait units.Duration, ask func() (done bool, err error)) error {
	started, reported := time.Now(), false
	for {
		c.fleet.Begin()
		done, err := ask()
		left := wait.Std() - time.Since(started)
		if done || left <= 0 {
			return err
		}
		if err != nil && !reported {
			c.Warn("%v; trying again", err)
		}
		reported = err != nil
		time.Sleep(min(pause, left))
	}
}
