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

Ask for the right to restart this instance, in one atomic step: given if at
least N other instances are alive, not quiet and not claimed, and serve its
queues between them. Then become prog, with {} replaced by what was asked for.

      --min N         so many must stay (1)
      --ttl DURATION  how long the claim is good (1h); it goes with the instance
      --any-queue     count every other instance, whatever queues it serves
      --as NAME       who claims (the hostname). Whoever has it may claim again;
                      a claim of another name is in the way
  -v, --verbose       say so when it is given

Exit: 0 given (and no prog); 1 not now, or there is no such instance; 100 used
      wrongly; 111 Redis gave no answer; 126, 127 prog cannot be run.
`

const releaseUsage = `usage: sidekiq-fleet release IDENTITY|TARGET

Give the right to restart this instance back, whoever has it.
`

func claim(above *command, args []string) int {
	c := above.named(claimUsage)
	r := fleet.Request{Least: 1}
	ttl := units.Duration(time.Hour)
	c.Func("min", "", "N", func(text string) (err error) {
		if r.Least, err = strconv.Atoi(text); err != nil || r.Least < 0 {
			return fmt.Errorf("%q is no number of instances (1)", text)
		}
		return nil
	})
	c.Var(&ttl, "ttl", "")
	c.BoolVar(&r.AnyQueue, "any-queue", "")
	c.StringVar(&r.By, "as", "")
	words, code := c.begin(above, args, 1, -1)
	if code != cli.Continue {
		return code
	}
	defer c.fleet.Close()
	if r.TTL = ttl.Std(); r.TTL < time.Millisecond || r.TTL > 365*24*time.Hour {
		return c.Misused(fmt.Errorf("--ttl: %v is no time for a restart (1h)", ttl))
	}
	if r.By == "" {
		r.By, _ = os.Hostname()
	}
	r.By = word(r.By)
	if len(words) > 1 { // nothing is claimed for a program that is not there
		if _, code, err := cli.Find(words[1]); err != nil {
			c.Error("%v", err)
			return code
		}
	}
	in, err := c.find(words[0])
	if err != nil {
		return c.failed(err)
	}
	defer in.close()
	r.Identity = in.identity
	peers, err := c.fleet.Claim(r)
	if err != nil {
		return c.failed(err)
	}
	c.Info("%s: claimed by %s for %v, at least %d can do its work meanwhile", in.identity, r.By, ttl, peers)
	if len(words) == 1 {
		return cli.Yes
	}
	code = c.Exec(cli.Expand(words[1:], in.braces))
	c.fleet.Begin()
	if err := c.fleet.Release(in.identity); err != nil {
		c.Error("%v", err)
	}
	return code
}

func release(above *command, args []string) int {
	c := above.named(releaseUsage)
	words, code := c.begin(above, args, 1, 1)
	if code != cli.Continue {
		return code
	}
	defer c.fleet.Close()
	in, err := c.find(words[0])
	if err != nil {
		return c.failed(err)
	}
	defer in.close()
	if err := c.fleet.Release(in.identity); err != nil {
		return c.failed(err)
	}
	return cli.Yes
}
