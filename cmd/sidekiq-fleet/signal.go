package main

import (
	"fmt"
	"strings"

	"gracekit/lib/cli"
	"gracekit/lib/units"
)

const signalUsage = `usage: sidekiq-fleet signal [-w DURATION] IDENTITY|TARGET TSTP|TERM

Make an instance quiet (TSTP) or stop it (TERM) through Redis, as Sidekiq's own
Web UI does: it reads its signals once a heartbeat (5 s in Sidekiq 6, 10 s from 7
on).

  -w, --wait DURATION  wait at most that long until it is quiet, or has exited. A
                       signal that it has not even taken by then is withdrawn

Exit: 0 sent, or with -w done;
      1 the signal was withdrawn, the instance has not exited, or there is no
      such instance;
      100 used wrongly;
      111 Redis gave no answer, or the instance took TSTP and does not report yet
      that it is quiet.
`

func signal(above *command, args []string) error {
	c := above.named(signalUsage)
	var wait units.Duration
	c.Var(&wait, "wait", "w")
	words, err := c.begin(args, 2, 2)
	if err != nil {
		return err
	}
	defer c.fleet.Close()
	name := strings.TrimPrefix(words[1], "SIG")
	if name != "TSTP" && name != "TERM" {
		return cli.Misusef("invalid signal %q (want TSTP or TERM)", words[1])
	}
	s, err := c.find(words[0])
	if err != nil {
		return c.result(err)
	}
	defer s.close()
	for _, in := range s.instances {
		if err := c.send(in, name, wait, c.Given("wait")); err != nil {
			return c.result(err)
		}
	}
	return nil
}

// send sends a signal to an instance, and waits for what it does.
func (c *command) send(in *instance, name string, wait units.Duration, waits bool) error {
	c.fleet.Begin()
	if waits && name == "TSTP" {
		if now, err := c.fleet.One(in.identity); err == nil && now.Quiet {
			return nil // a second signal would delay the next one by a heartbeat
		}
	}
	if err := c.fleet.Signal(in.identity, name); err != nil || !waits {
		return err
	}
	done := false
	in.known = true
	err := c.until(wait, func() (bool, error) {
		now, err := c.fleet.One(in.identity)
		done = c.hasExited(in, err) || err == nil && name == "TSTP" && now.Quiet
		if done {
			return true, nil
		}
		if err == nil {
			err = c.fleet.RenewSignals(in.identity)
		}
		return false, err
	})
	if done {
		return nil
	}
	return c.withdraw(in.identity, name, wait, err)
}

// withdraw takes back a signal that was not taken: the instance must not become quiet later, when nobody expects it.
func (c *command) withdraw(id, name string, wait units.Duration, err error) error {
	c.fleet.Begin()
	withdrawn, errWithdraw := c.fleet.Withdraw(id, name)
	switch {
	case errWithdraw != nil:
		return errWithdraw
	case withdrawn:
		c.Warn("%s: it did not receive %s within %v; the signal was withdrawn", id, name, wait)
	case err != nil:
		return err
	case name == "TSTP": // not a no: it may be quiet soon
		return fmt.Errorf("%s: it received %s, but did not report within %v that it is quiet", id, name, wait)
	default:
		c.Warn("%s: it received %s, but has not exited after %v", id, name, wait)
	}
	return cli.Exit(cli.No)
}
