package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/units"
)

const sweepUsage = `usage: sidekiq-fleet sweep --over SIZE [options]

Make one round over all instances, on any host, by the sizes in their heartbeats:
those over SIZE are restarted through Redis, the largest first, one at a time, as
sidekiq-fleet restart does. What an earlier round has begun and not finished
comes first. Instances that are claimed or quiet for another reason are left
alone. One round runs at a time; TERM ends it after the restart under way.

      --over SIZE         the limit: KB, or 1500M, 2G
                          ($SIDEKIQ_MEMORY_KILLER_MAX_RSS)
      --grace DURATION    restart only those that were over it in all rounds for
                          that long (0)
      --min-age DURATION  leave an instance alone for so long after its start,
                          and report at level ERROR that it is too large by then
                          (10m, $FLEET_MEMORY_KILLER_MIN_AGE)
      --min N             other instances that must be available (1,
                          $SIDEKIQ_MEMORY_KILLER_MIN_PEERS)
  -n, --dry-run           print the instances that would be restarted, as
                          sidekiq-fleet ps does, and do nothing
  -q, --quiet             only warnings and errors

Environment: as for sidekiq-fleet restart.

Exit: 0 done, or nothing to do; 75 another round is under way; 100 used wrongly;
      111 Redis gave no answer, or a restart failed.
`

// sweepHolder holds the claims of a sweep, so that any later one can go on with what it has begun.
const sweepHolder = "sidekiq-fleet-sweep"

func sweep(above *command, args []string) error {
	c := above.named(sweepUsage)
	var over units.Size
	var grace units.Duration
	minAge := units.Duration(10 * time.Minute)
	min := -1
	c.Var(&over, "over", "")
	c.Var(&grace, "grace", "")
	if text := os.Getenv("FLEET_MEMORY_KILLER_MIN_AGE"); text != "" {
		if err := minAge.Set(text); err != nil {
			return cli.Misusef("FLEET_MEMORY_KILLER_MIN_AGE: %w", err)
		}
	}
	c.Var(&minAge, "min-age", "")
	c.Func("min", "", "N", func(text string) (err error) { min, err = parseCount(text); return err })
	dryRun := c.Bool("dry-run", "n")
	if _, err := c.begin(args, 0, 0); err != nil {
		return err
	}
	defer c.fleet.Close()
	p, err := readPolicy()
	if err != nil {
		return cli.Misuse(err)
	}
	if !c.Given("over") {
		over = p.Soft
	}
	if over.IsZero() {
		return cli.Misusef("--over: missing (want a size, 1500M or 2G)")
	}
	if err := checkOver(over); err != nil {
		return err
	}
	switch {
	case min >= 0:
		p.MinPeers = min
	case p.Source("SIDEKIQ_MEMORY_KILLER_MIN_PEERS").Variable == "":
		p.MinPeers = 1
	}
	p.hard = false // a sweep has no hard limit, whatever GRACE_REASON says
	r := &round{command: c, policy: p, limit: over.KB(0), grace: grace.Std(), minAge: minAge.Std(), dryRun: *dryRun}
	if *dryRun {
		return r.run()
	}
	c.Verbose = !c.Quiet
	return r.runAlone()
}

// round is one round over the fleet.
type round struct {
	*command
	policy
	limit         int64 // KB
	grace, minAge time.Duration
	dryRun        bool
	stop          chan struct{} // closed: no other restart is begun
}

// lockTTL is how long a round that was killed keeps others out.
const lockTTL = time.Minute

// runAlone runs the round while no other one runs, on any host.
func (r *round) runAlone() error {
	taken := time.Now()
	lock, holder, err := r.fleet.Lock("sweep", fmt.Sprintf("%s, pid %d", hostname(), os.Getpid()), lockTTL)
	if err != nil {
		return err
	}
	if lock == nil {
		r.Info("another round is under way: %s", word(holder))
		return cli.Exit(cli.NotNow)
	}
	r.stop = make(chan struct{})
	done := make(chan struct{})
	var renewal sync.WaitGroup
	renewal.Go(func() { r.keepLock(lock, taken, endSignals(), done) })
	err = r.run()
	close(done)
	renewal.Wait()
	r.fleet.Begin()
	if errUnlock := lock.Unlock(); errUnlock != nil {
		r.Warn("%v: other rounds can begin in %v", errUnlock, lockTTL)
	}
	return err
}

// keepLock renews the lock until done is closed. It closes stop after a signal, and when another round may have the lock.
func (r *round) keepLock(lock *fleet.Lock, taken time.Time, signals <-chan os.Signal, done <-chan struct{}) {
	valid, stopped := taken.Add(lockTTL), false
	stop := func() {
		if !stopped {
			stopped = true
			close(r.stop)
		}
	}
	for {
		select {
		case <-done:
			return
		case <-signals:
			stop()
			continue
		case <-time.After(lockTTL / 6):
		}
		asked := time.Now()
		held, err := lock.Renew(asked.Add(lockTTL / 6))
		if held {
			valid = asked.Add(lockTTL)
		}
		if (err == nil && !held || time.Now().After(valid.Add(-lockTTL/3))) && !stopped {
			r.Error("the lock of this round is lost: no other restart is begun")
			stop()
		}
	}
}

func (r *round) run() error {
	all, err := r.fleet.All()
	if err != nil {
		return err
	}
	failed := false
	for _, in := range r.due(all) {
		if r.dryRun {
			if err := r.Write(instanceLine(&in, false)); err != nil {
				return err
			}
			continue
		}
		if isClosed(r.stop) {
			break
		}
		r.fleet.Begin()
		err := r.result(r.restartRemote(in.Identity, r.policy, sweepHolder))
		var e *cli.Error
		switch {
		case err == nil:
		case !errors.As(err, &e):
			r.Error("%v", err)
			failed = true
		case e.Code != cli.No && e.Code != cli.NotNow:
			if e.Err != nil {
				r.Error("%v", e.Err)
			}
			failed = true
		}
	}
	if failed {
		return cli.Exit(cli.Refused)
	}
	return nil
}

// due are the instances that have their turn: those that an earlier round has claimed, which are quiet or will be; then
// those that are too large, the largest first.
func (r *round) due(all []fleet.Instance) (list []fleet.Instance) {
	for _, in := range all {
		if _, ok := fleet.ParseIdentity(in.Identity); ok && in.State() == fleet.Claimed && in.Claim.Holder == sweepHolder {
			list = append(list, in)
		}
		if in.Over > 0 && in.RSS <= r.limit && !r.dryRun {
			r.noted(r.fleet.NoteUnder(in.Identity))
		}
	}
	for _, in := range larger(all, r.limit) {
		if _, ok := fleet.ParseIdentity(in.Identity); !ok || in.State() != fleet.Running {
			continue
		}
		if !in.Started.IsZero() && in.Age < r.minAge {
			r.Error("%s has %d KB %.0f s after its start: the limit of %d KB may be below what it needs to boot", word(in.Identity), in.RSS,
				in.Age.Seconds(), r.limit)
			continue
		}
		if r.grace > 0 && in.Over < r.grace {
			if in.Over == 0 && !r.dryRun {
				r.noted(r.fleet.NoteOver(in.Identity))
			}
			continue
		}
		list = append(list, in)
	}
	return list
}

func (r *round) noted(err error) {
	if err != nil {
		r.Error("cannot note how long an instance is over the limit: %v", err)
	}
}
