package main

import (
	"fmt"
	"strings"

	"gracekit/lib/cli"
	"gracekit/lib/units"
)

const signalUsage = `usage: sidekiq-fleet signal [-w DURATION] IDENTITY|TARGET TSTP|TERM

Tell an instance to be quiet (TSTP) or to end (TERM), through Redis, as
Sidekiq's own Web UI does: it looks once a heartbeat (5 s in Sidekiq 6, 10 s
from 7 on).

  -w, --wait DURATION  wait up to that long until it is quiet, or gone. If it
                       did not even take the signal by then, that is taken back

Exit: 0 sent, or with -w done;
      1 it was taken back, has not ended, or there is no such instance;
      100 used wrongly;
      111 Redis gave no answer, or it took TSTP and does not say yet that it is
      quiet.
`

func signal(above *command, args []string) int {
	c := above.named(signalUsage)
	var wait units.Duration
	c.Var(&wait, "wait", "w")
	words, code := c.begin(above, args, 2, 2)
	if code != cli.Continue {
		return code
	}
	defer c.fleet.Close()
	name := strings.TrimPrefix(words[1], "SIG")
	if name != "TSTP" && name != "TERM" {
		return c.Misused(fmt.Errorf("%q is neither TSTP nor TERM", words[1]))
	}
	in, err := c.find(words[0])
	if err != nil {
		return c.failed(err)
	}
	defer in.close()
	if c.Given("wait") && name == "TSTP" {
		if now, err := c.fleet.One(in.identity); err == nil && now.Quiet {
			return cli.Yes // and no signal is left that delays the next by a heartbeat
		}
	}
	if err := c.fleet.Signal(in.identity, name); err != nil {
		return c.failed(err)
	}
	if !c.Given("wait") {
		return cli.Yes
	}
	done := false
	in.known = true
	err = c.until(wait, func() (bool, error) {
		now, err := c.fleet.One(in.identity)
		done = c.gone(&in, err) || err == nil && name == "TSTP" && now.Quiet
		if done {
			return true, nil
		}
		if err == nil {
			err = c.fleet.Keep(in.identity)
		}
		return false, err
	})
	if done {
		return cli.Yes
	}
	return c.unheard(in.identity, name, wait, err)
}

// unheard takes back what was not heard: nobody is to find a quiet instance later, and not know why.
func (c *command) unheard(id, name string, wait units.Duration, err error) int {
	c.fleet.Begin()
	back, errBack := c.fleet.Withdraw(id, name)
	switch {
	case errBack != nil:
		return c.failed(errBack)
	case back:
		c.Warn("%s: it did not take %s within %v, which was taken back", id, name, wait)
	case err != nil:
		return c.failed(err)
	case name == "TSTP": // no is for one that goes on as it was
		return c.Refused(fmt.Errorf("%s: it took %s, and has not said within %v that it is quiet", id, name, wait))
	default:
		c.Warn("%s: it took %s, and is not done after %v", id, name, wait)
	}
	return cli.No
}
