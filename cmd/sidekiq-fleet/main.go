// Command sidekiq-fleet asks the Redis that all instances of Sidekiq share:
// which there are, what is running, and whether one of them may be restarted
// now; and restarts them.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/proc"
	"gracekit/lib/units"
)

const usage = `usage: sidekiq-fleet ps|jobs|claim|release|signal|restart|sweep [options] [...]

All instances of Sidekiq that share a Redis, on any host.

  ps       list the instances: IDENTITY BUSY CONCURRENCY RSS_KB STATE AGE QUEUES
  jobs     list the running jobs: IDENTITY JID CLASS QUEUE SECONDS
  claim    get the right to restart an instance, while others can do its work
  release  give that right back
  signal   send TSTP (quiet) or TERM to an instance, through Redis
  restart  restart an instance gracefully, while others can do its work
  sweep    restart every instance that is too large, one at a time
           (see sidekiq-fleet COMMAND --help)

      --namespace NAME    of Sidekiq 6 with redis-namespace ($SIDEKIQ_NAMESPACE)
      --timeout DURATION  for an answer of Redis (5s, $SIDEKIQ_FLEET_TIMEOUT)
  -v, --verbose           more messages
  -q, --quiet             only errors
  -h, --help              this text
      --version           the version

Environment: REDIS_URL (redis://, rediss://, unix://) or the variable that
REDIS_PROVIDER names, as for Sidekiq. For rediss://: REDIS_CA_FILE,
REDIS_CERT_FILE, REDIS_KEY_FILE. For Sentinels: REDIS_SENTINELS (HOST:PORT,...),
with the name of the master as the host in REDIS_URL; REDIS_SENTINEL_USER,
REDIS_SENTINEL_PASSWORD, REDIS_SENTINEL_TLS (1 or 0).

Exit: 0 yes, or done; 1 no, or no such instance; 75 not now, try again later;
      100 used wrongly; 111 Redis gave no answer, or cannot tell which instance
      a process is, or what speaks against it will not pass by itself.
`

var commands = map[string]func(c *command, args []string) error{
	"ps": ps, "jobs": jobs, "claim": claim, "release": release, "signal": signal, "restart": restart, "sweep": sweep,
}

func main() { cli.Main("sidekiq-fleet", usage, run) }

func run(cmd *cli.Command) error {
	c := &command{Command: cmd, namespace: os.Getenv("SIDEKIQ_NAMESPACE"), timeout: units.Duration(5 * time.Second)}
	c.options()
	words, err := c.Args(1, -1)
	if err != nil {
		return err
	}
	command, ok := commands[words[0]]
	if !ok {
		return cli.Misusef("invalid command %q (want ps, jobs, claim, release, signal, restart or sweep)", words[0])
	}
	return command(c, words[1:])
}

// command is one of the commands: its flags, and the fleet that it is about.
type command struct {
	*cli.Command
	namespace    string
	timeout      units.Duration // for all that is asked at a time
	timeoutGiven bool
	fleet        *fleet.Fleet
}

// options are those that may stand before and after the name of the command.
func (c *command) options() {
	c.Func("namespace", "", "NAME", func(text string) error { c.namespace = text; return nil })
	c.Func("timeout", "", "DURATION", func(text string) error { c.timeoutGiven = true; return c.timeout.Set(text) })
}

// named is the command of that usage, with what was said before its name.
func (c *command) named(usage string) *command {
	sub := *c
	sub.Command = c.Subcommand(usage)
	sub.options()
	return &sub
}

// begin reads the flags and makes the fleet. Close it.
func (c *command) begin(args []string, min, max int) (words []string, err error) {
	if words, err = c.Parse(args, min, max); err != nil {
		return nil, err
	}
	if err := c.checkTimeout(); err != nil {
		return nil, cli.Misuse(err)
	}
	c.fleet, err = c.open()
	return words, err
}

// open makes a fleet with a connection of its own.
func (c *command) open() (*fleet.Fleet, error) {
	settings, err := fleet.FromEnvironment()
	if err != nil {
		return nil, cli.Misuse(err)
	}
	settings.Namespace, settings.Timeout = c.namespace, c.timeout.Std()
	f, err := fleet.Open(settings)
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		err = cli.Misuse(err)
	}
	return f, err
}

// checkTimeout reads SIDEKIQ_FLEET_TIMEOUT if the option was not given.
func (c *command) checkTimeout() error {
	name, text := "--timeout", os.Getenv("SIDEKIQ_FLEET_TIMEOUT")
	if !c.timeoutGiven && text != "" {
		name = "SIDEKIQ_FLEET_TIMEOUT"
		if err := c.timeout.Set(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if c.timeout < units.Duration(time.Millisecond) || c.timeout == units.Never {
		return fmt.Errorf("%s: invalid duration \"%v\" (want 5 or 500ms)", name, c.timeout)
	}
	return nil
}

// result is the error that ends the program for what Redis, or the look for an instance, answered. A plain no and a
// "not now" are warnings; what will not pass by itself is an error.
func (c *command) result(err error) error {
	code := cli.No
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fleet.ErrUnsatisfiable):
		c.Error("%v", err)
		return cli.Exit(cli.Refused)
	case errors.As(err, new(*cli.Error)):
		return err
	case errors.Is(err, fleet.ErrNotNow):
		code = cli.NotNow
	case !isOneOf(err, fleet.ErrAbsent, fleet.ErrDead, proc.ErrGone):
		return err
	}
	c.Warn("%v", err)
	return cli.Exit(code)
}

func isOneOf(err error, list ...error) bool {
	return slices.ContainsFunc(list, func(one error) bool { return errors.Is(err, one) })
}

// word makes one word of a line of text that others chose.
func word(text string) string {
	if text == "" {
		return "-"
	}
	return strings.ReplaceAll(cli.Printable(text), " ", "?")
}
