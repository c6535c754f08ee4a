package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
)

const restartUsage = `usage: sidekiq-fleet restart IDENTITY|TARGET

Restart an instance gracefully, while others can do its work. The running jobs
are logged. Then graceful-restart is run for a TARGET, a process of this machine.
An IDENTITY is restarted through Redis, on any host: TSTP, a wait for its jobs,
TERM; its supervisor starts the new process.

  -q, --quiet    only warnings and errors

Environment, as for memory-killer:
  SIDEKIQ_MEMORY_KILLER_MIN_PEERS           other instances that must be
                                            available (0: others are not asked)
  SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES      queues that need no other server
  SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS  1: over the hard limit, restart
                                            whatever Redis says or does not say;
                                            0: when the grace time has expired
  SIDEKIQ_MEMORY_KILLER_GRACE_TIME          (900)
  LONG_WORKERS   classes of jobs that postpone a restart, but not over the hard
                 limit
  POISON_AFTER   move a job to the dead set when it alone ran at so many hard
                 restarts in a row (0: it is only logged)
  SHUTDOWN_WAIT, SIDEKIQ_TIMEOUT            of an IDENTITY, as for
                                            graceful-restart

Exit: 0 it has exited; 1 there is no such instance, or the service is down;
      75 not now, nothing was signalled; 100 used wrongly; 111 it has not exited;
      Redis gave no answer, or what speaks against it will not pass by itself (75
      if gracewatch runs this).
`

func restart(above *command, args []string) error {
	c := above.named(restartUsage)
	words, err := c.Parse(args, 1, 1)
	if err != nil {
		return err
	}
	c.Verbose = !c.Quiet // each step is reported, because it may take long
	p, err := readPolicy()
	if err != nil {
		return cli.Misuse(err)
	}
	if err := c.checkTimeout(); err != nil {
		return cli.Misuse(err)
	}
	c.fleet, err = c.open()
	if err != nil && !(p.hard && p.HardWithoutPeers) {
		return err
	}
	if err != nil {
		c.Error("%v", err)
	} else {
		defer c.fleet.Close()
	}
	if isIdentity(words[0]) {
		if c.fleet == nil {
			return cli.Exit(cli.Refused)
		}
		return c.result(c.restartRemote(words[0], p, hostname()))
	}
	target, err := openTarget(words[0])
	if errors.Is(err, proc.ErrGone) {
		c.Info("%s has exited: nothing to restart", words[0])
		return nil
	}
	if err != nil {
		return err
	}
	defer target.Close()
	l := &local{command: c, policy: p, target: target, subject: &subject{}}
	return l.restart()
}

// local is the restart of a process of this machine.
type local struct {
	*command
	policy
	target  *proc.Process
	subject *subject // its instances, as far as they are known
	holder  string   // of the claim; empty: nothing was claimed
}

const (
	claimTTL = time.Hour
	// waitHere is the longest time that is waited for a claim over the hard limit. Before that, gracewatch asks again.
	waitHere = time.Minute
)

// restart waits until nothing speaks against it, and runs graceful-restart. At a hard restart it records meanwhile which
// jobs run. The claim goes with the instances.
func (l *local) restart() error {
	file, err := cli.Find("graceful-restart")
	if err != nil {
		return err
	}
	err = l.waitUntilAllowed()
	defer func() { l.subject.close() }()
	if err != nil {
		return err
	}
	held := &heldClaim{command: l.command, subject: l.subject, holder: l.holder, ttl: claimTTL}
	var meanwhile func(<-chan struct{})
	if l.hard && l.fleet != nil {
		meanwhile = l.recordJobs
	}
	return held.run(file, []string{"graceful-restart", l.target.ID.String()}, meanwhile)
}

// waitUntilAllowed asks everything that may speak against the restart. Over the hard limit no answer delays it longer than
// the grace time: what the machine does when its memory is used up does not ask either.
func (l *local) waitUntilAllowed() error {
	asked, reported := time.Now(), false
	for {
		err := l.check(!reported)
		if err == nil {
			return nil
		}
		left := l.Grace.Std() - l.over - time.Since(asked)
		switch {
		case l.hard && (l.HardWithoutPeers || left <= 0):
			l.Warn("over the hard limit: restarting %v without a claim: %v", l.target.ID, err)
			return nil
		case !l.hard || left > waitHere:
			return l.postponed(err)
		case !reported:
			l.Warn("over the hard limit: %v; restarting in %v at the latest", err, left.Round(time.Second))
		}
		reported = true
		time.Sleep(min(pause, left))
	}
}

// postponed is the exit for a restart that may not begin. For gracewatch every code but 75 is a restart that failed half
// way, and is begun again at any size; so it is 75 wherever nothing was signalled.
func (l *local) postponed(err error) error {
	err = l.result(err)
	var e *cli.Error
	if l.reason == "" || errors.As(err, &e) && e.Code == cli.NotNow {
		return err
	}
	if !errors.As(err, &e) || e.Err != nil {
		l.Error("%v", err)
	}
	return cli.Exit(cli.NotNow)
}

// check finds the instances, logs their jobs, and claims them. Errors count only where something depends on the answer.
func (l *local) check(logJobs bool) error {
	l.subject.close()
	l.subject = &subject{}
	needed := l.MinPeers > 0 || len(l.long) > 0 && !l.hard
	if l.fleet == nil {
		if needed {
			return errors.New("no Redis to ask")
		}
		return nil
	}
	l.fleet.Begin()
	err := l.findInstances()
	if err == nil {
		err = l.checkJobs(logJobs)
	}
	if err != nil && !needed {
		l.Info("cannot list the running jobs of %v: %v", l.target.ID, err)
		return nil
	}
	if err != nil || l.MinPeers == 0 {
		return err
	}
	holder := word(hostname())
	_, err = l.fleet.Claim(fleet.Request{Identities: l.subject.identities(), Holder: holder, MinPeers: l.MinPeers, TTL: claimTTL,
		PrivateQueues: l.PrivateQueues})
	if err == nil {
		l.holder = holder
	}
	return err
}

// findInstances finds those that are restarted: with one worker of a service graceful-restart restarts all.
func (l *local) findInstances() error {
	if p, ok := l.openService(); ok {
		defer p.Close()
		return l.subject.resolve(l.fleet, p)
	}
	return l.subject.resolve(l.fleet, l.target)
}

// openService opens the process of the service of which the target is one Sidekiq; not ok if it is restarted alone.
func (l *local) openService() (p *proc.Process, ok bool) {
	text := os.Getenv("GRACE_SERVICE")
	if text == "" || l.Restart == "worker" {
		return nil, false
	}
	target, err := service.Parse(text)
	if err != nil {
		return nil, false
	}
	if p, err = target.Open(); err != nil {
		return nil, false
	}
	ids, err := sidekiq.NewLister().List(p)
	if err != nil || !slices.Contains(ids, l.target.ID) {
		p.Close()
		return nil, false
	}
	return p, true
}

// checkJobs logs the running jobs. The error is that of LONG_WORKERS among them.
func (l *local) checkJobs(log bool) error {
	jobs, err := l.fleet.Jobs(l.subject.identities()...)
	if err != nil {
		return err
	}
	if log {
		l.logJobs(l.target.ID.String(), jobs)
	}
	return l.postponedBy(jobs)
}

func (c *command) logJobs(of string, jobs []fleet.Job) {
	for _, job := range jobs {
		c.Info("running_jobs of %s: jid=%s class=%s queue=%s seconds=%.0f", of, word(job.JID), word(job.Class), word(job.Queue),
			job.Running.Seconds())
	}
}

// postponedBy is the error of a job that is among LONG_WORKERS.
func (p policy) postponedBy(jobs []fleet.Job) error {
	if p.hard || len(p.long) == 0 {
		return nil
	}
	if long := p.long.of(slices.Clone(jobs)); len(long) > 0 {
		job := long[0]
		return fmt.Errorf("%s: %w: job %s (%s), one of LONG_WORKERS (%s), has been running for %.0f s", word(job.Identity), fleet.ErrNotNow,
			word(job.JID), word(job.Class), strings.Join(p.long, " "), job.Running.Seconds())
	}
	return nil
}
