package main

import (
	"errors"
	"fmt"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/units"
)

// signalTime is how long an instance may take for a signal: it takes it at a heartbeat and reports it at the next one,
// which is 20 s in Sidekiq 7, and one heartbeat may be late.
const signalTime = 60 * time.Second

// remoteTTL is how long the claim on an instance of another host lasts: a sweep that was killed takes it up again.
const remoteTTL = 24 * time.Hour

// restartRemote restarts an instance on any host through Redis: TSTP, a wait for its jobs, TERM. The claim is kept where
// it may be quiet, so that the next try can go on.
func (c *command) restartRemote(identity string, p policy, holder string) error {
	jobs, err := c.fleet.Jobs(identity)
	if err != nil {
		return err
	}
	c.logJobs(identity, jobs)
	if err := p.postponedBy(jobs); err != nil {
		return err
	}
	if p.MinPeers > 0 || holder == sweepHolder {
		c.fleet.Begin()
		if _, err := c.fleet.Claim(fleet.Request{Identities: []string{identity}, Holder: holder, MinPeers: p.MinPeers, TTL: remoteTTL,
			PrivateQueues: p.PrivateQueues}); err != nil {
			return err
		}
	}
	in := &instance{identity: identity}
	if err := c.send(in, "TSTP", units.Duration(signalTime), true); err != nil {
		var code *cli.Error
		if errors.As(err, &code) && code.Code == cli.No || isOneOf(err, fleet.ErrAbsent, fleet.ErrDead, fleet.ErrUnsatisfiable) {
			c.releaseOwn(identity, holder) // nothing was done
		}
		if errors.As(err, &code) && code.Code == cli.No {
			return cli.Exit(cli.NotNow)
		}
		return err
	}
	c.Info("%s is quiet; waiting for its jobs (SHUTDOWN_WAIT %v)", identity, p.ShutdownWait)
	_, free, err := c.jobsOf(&subject{instances: []*instance{in}}, nil, p.ShutdownWait, true)
	if err != nil {
		return &cli.Error{Code: cli.Refused, Err: err}
	}
	if !free {
		c.Warn("%s still runs jobs: those that do not end within %v are pushed back to Redis", identity, p.Timeout)
	}
	c.Info("sending TERM to %s", identity)
	err = c.send(in, "TERM", units.Duration(2*p.Timeout.Std()+signalTime), true)
	if err != nil && !errors.Is(err, fleet.ErrAbsent) {
		return &cli.Error{Code: cli.Refused, Err: fmt.Errorf("%s is quiet and has not exited: check it on its host", identity)}
	}
	c.Info("%s has exited", identity)
	return nil
}
