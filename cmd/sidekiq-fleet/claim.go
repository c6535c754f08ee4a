package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/units"
)

const claimUsage = `usage: sidekiq-fleet claim [options] IDENTITY|TARGET [prog...]

Get the right to restart an instance, in one atomic step: it is given if at least
N other instances are alive, not quiet and not claimed, and serve its queues
between them. Then run prog, with {} replaced by the identity, and pass TERM, INT
and HUP on to it. The claim is renewed while prog runs, and released if prog
fails and the instance is not quiet.

      --min N         other instances that must be available (1)
      --ttl DURATION  when the claim expires (1h); it goes with the instance
      --any-queue     count other instances whatever queues they serve
      --as NAME       the name of the claim's holder (the hostname). The same
                      holder may claim again; another one may not
  -v, --verbose       say that the claim was given

A queue whose name has the instance's hostname in it, or that matches one of
SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES, need not be served by others. The Sidekiqs
of a TARGET are claimed together; the others are those outside it.

Exit: that of prog; without prog 0 given; 1 there is no such instance; 75 not
      now; 100 used wrongly; 111 never, while nobody changes the settings or
      starts other instances, or Redis gave no answer, or cannot tell which
      instance a process is; 126, 127 prog cannot be executed, was not found.
`

const releaseUsage = `usage: sidekiq-fleet release IDENTITY|TARGET

Release the claim on an instance, also that of another holder.
`

func claim(above *command, args []string) error {
	c := above.named(claimUsage)
	r := fleet.Request{MinPeers: 1}
	ttl := units.Duration(time.Hour)
	c.Func("min", "", "N", func(text string) (err error) {
		r.MinPeers, err = parseCount(text)
		return err
	})
	c.Var(&ttl, "ttl", "")
	c.BoolVar(&r.AnyQueue, "any-queue", "")
	c.StringVar(&r.Holder, "as", "")
	words, err := c.begin(args, 1, -1)
	if err != nil {
		return err
	}
	defer c.fleet.Close()
	if r.TTL = ttl.Std(); r.TTL < time.Millisecond || r.TTL > 365*24*time.Hour {
		return cli.Misusef("--ttl: invalid duration \"%v\" (want 1h)", ttl)
	}
	p, err := readPolicy()
	if err != nil {
		return cli.Misuse(err)
	}
	r.PrivateQueues = p.PrivateQueues
	if r.Holder == "" {
		r.Holder = hostname()
	}
	r.Holder = word(r.Holder)
	var file string
	if len(words) > 1 { // nothing is claimed for a program that is not there
		if file, err = cli.Find(words[1]); err != nil {
			return err
		}
	}
	s, err := c.find(words[0])
	if err != nil {
		return c.result(err)
	}
	defer s.close()
	r.Identities = s.identities()
	peers, err := c.fleet.Claim(r)
	if err != nil {
		return c.result(err)
	}
	c.Info("%s: claimed by %s for %v; at least %d other instances are available", words[0], r.Holder, ttl, peers)
	if file == "" {
		return nil
	}
	held := &heldClaim{command: c, subject: s, holder: r.Holder, ttl: r.TTL}
	return held.run(file, cli.Expand(words[1:], s.placeholder), nil)
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("invalid number of instances %q (want for example 1)", text)
	}
	return n, nil
}

func release(above *command, args []string) error {
	c := above.named(releaseUsage)
	words, err := c.begin(args, 1, 1)
	if err != nil {
		return err
	}
	defer c.fleet.Close()
	s, err := c.find(words[0])
	if err != nil {
		return c.result(err)
	}
	defer s.close()
	for _, in := range s.instances {
		if err := c.fleet.Release(in.identity); err != nil {
			return c.result(err)
		}
	}
	return nil
}
