// Command sidekiq-fleet asks the Redis that all instances of Sidekiq share: who
// is there, what is running, and whether one of them may be restarted now.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

const usage = `usage: sidekiq-fleet ps|jobs|claim|release|signal|lock [options] [...]

All instances of Sidekiq meet in their Redis. This asks there.

  ps       every instance: IDENTITY BUSY CONCURRENCY RSS_KB STATE AGE QUEUES
  jobs     what is running: IDENTITY JID CLASS QUEUE SECONDS
  claim    the right to restart an instance, while others can do its work
  release  gives that back
  signal   tells an instance TSTP (quiet) or TERM, through Redis
  lock     runs a program on one host at a time
           sidekiq-fleet COMMAND --help tells more

      --namespace NAME    of Sidekiq 6 with redis-namespace ($SIDEKIQ_NAMESPACE)
      --timeout DURATION  for an answer of Redis (5s, $SIDEKIQ_FLEET_TIMEOUT)
  -v, --verbose           more messages
  -q, --quiet             only errors
  -h, --help              this text
      --version           the version

Environment: REDIS_URL (redis://, rediss://, unix://) or what REDIS_PROVIDER
names, as for Sidekiq; REDIS_CA_FILE for rediss://; REDIS_SENTINELS
(HOST:PORT,...), with the name of the master for a host in REDIS_URL, and
REDIS_SENTINEL_PASSWORD.

Exit: 0 yes, or done; 1 no: not now, no such instance, it is dead;
      100 used wrongly; 111 cannot say: Redis gave no answer.
`

var commands = map[string]func(c *command, args []string) int{
	"ps": ps, "jobs": jobs, "claim": claim, "release": release, "signal": signal, "lock": lock,
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, cli.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	c := &command{Command: cli.New("sidekiq-fleet", usage, stdout, stderr), stderr: stderr}
	c.namespace, c.timeout = os.Getenv("SIDEKIQ_NAMESPACE"), units.Duration(5*time.Second)
	c.options()
	words, code := c.Parse(args, 1, -1)
	if code != cli.Continue {
		return code
	}
	command, ok := commands[words[0]]
	if !ok {
		return c.Misused(fmt.Errorf("%q is no command (ps, jobs, claim, release, signal, lock)", words[0]))
	}
	return command(c, words[1:])
}

// command is one of the commands: its flags, and the fleet that it is about.
type command struct {
	*cli.Command
	stderr    io.Writer
	namespace string
	timeout   units.Duration // for all that is asked at a time
	fleet     *fleet.Fleet
}

// options are those that stand before and behind the name of the command.
func (c *command) options() {
	c.Func("namespace", "", "NAME", func(text string) error { c.namespace = text; return nil })
	c.Func("timeout", "", "DURATION", c.timeout.Set)
}

// named is the command of that usage, with what was said before its name.
func (c *command) named(usage string) *command {
	sub := *c
	sub.Command = cli.New("sidekiq-fleet", usage, c.Stdout, c.stderr)
	sub.options()
	return &sub
}

// begin reads the flags, and makes the fleet.
func (c *command) begin(above *command, args []string, min, max int) (words []string, code int) {
	words, code = c.Parse(args, min, max)
	if code != cli.Continue {
		return nil, code
	}
	c.Quiet, c.Verbose = c.Quiet || above.Quiet, c.Verbose || above.Verbose
	if err := c.checkTimeout(c.Given("timeout") || above.Given("timeout")); err != nil {
		return nil, c.Misused(err)
	}
	settings, err := fleet.FromEnvironment()
	if err != nil {
		return nil, c.Misused(err)
	}
	settings.Namespace, settings.Timeout = c.namespace, c.timeout.Std()
	c.fleet, err = fleet.Open(settings)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil, c.Refused(err)
	case err != nil:
		return nil, c.Misused(err)
	}
	return words, cli.Continue
}

// checkTimeout takes that of the environment, if none was given.
func (c *command) checkTimeout(given bool) error {
	name, text := "--timeout", os.Getenv("SIDEKIQ_FLEET_TIMEOUT")
	if !given && text != "" {
		name = "SIDEKIQ_FLEET_TIMEOUT"
		if err := c.timeout.Set(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if c.timeout < units.Duration(time.Millisecond) || c.timeout == units.Never {
		return fmt.Errorf("%s: %v is no time in which to give up (5, 500ms)", name, c.timeout)
	}
	return nil
}

// instance is which one is meant.
type instance struct {
	identity string
	braces   string        // what stands for it in {}
	process  *proc.Process // nil if it was named by its identity
	known    bool          // Redis had it
	missing  time.Time     // since when it has it no more
}

// find reads IDENTITY|TARGET. The error says why there is none; close the instance.
func (c *command) find(text string) (in instance, err error) {
	if _, ok := fleet.ParseIdentity(text); ok || meantAsIdentity(text) {
		return instance{identity: text, braces: text}, nil
	}
	target, err := service.Parse(text)
	if err != nil {
		return in, misused{fmt.Errorf("%w; nor an instance (HOST:PID:NONCE, as sidekiq-fleet ps prints it)", err)}
	}
	p, err := target.Open()
	if err != nil {
		return in, err
	}
	id, err := c.fleet.Of(p)
	if err != nil {
		p.Close()
		return in, fmt.Errorf("%s: %w", target.Text, err)
	}
	return instance{identity: id, braces: p.ID.String(), process: p}, nil
}

// meantAsIdentity tells whether a text can be nothing else, though Sidekiq has made none like that: it is cut off, say.
// That there is no such instance says more than that there is no such file.
func meantAsIdentity(text string) bool {
	_, err := os.Lstat(text)
	return err != nil && strings.Count(text, ":") >= 2 && !strings.Contains(text, "/") && strings.Trim(text, "0123456789:") != ""
}

func (in instance) close() {
	if in.process != nil {
		in.process.Close()
	}
}

// twoBeats are two heartbeats of Sidekiq 7: an instance that Redis has forgotten is there again by then.
const twoBeats = 20 * time.Second

// gone tells whether an error of Redis means that the instance is no more. A process that lives, which Redis has
// forgotten or not heard of for long, is not gone; nor is one that did not say so itself, before it had time for another
// heartbeat: Redis may have lost its data, or was away for as long as they are good.
func (c *command) gone(in *instance, err error) bool {
	absent := errors.Is(err, fleet.ErrAbsent)
	switch {
	case err == nil:
		in.known, in.missing = true, time.Time{}
		return false
	case !absent && !errors.Is(err, fleet.ErrDead):
		return false
	case in.process != nil:
		return in.process.Ended()
	case !in.known, absent && c.fleet.Left(in.identity):
		return true
	case in.missing.IsZero():
		in.missing = time.Now()
	}
	return time.Since(in.missing) >= twoBeats
}

// misused is the error of an argument that cannot be.
type misused struct{ error }

// failed says why not, and is the exit code for that.
func (c *command) failed(err error) int {
	if errors.As(err, new(misused)) {
		return c.Misused(err)
	}
	for _, no := range []error{fleet.ErrNotNow, fleet.ErrAbsent, fleet.ErrDead, proc.ErrGone} {
		if errors.Is(err, no) {
			c.Warn("%v", err)
			return cli.No
		}
	}
	return c.Refused(err)
}

// word is a text that others chose as one word of a line.
func word(text string) string {
	if text == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == ' ' {
			return '?'
		}
		return r
	}, text)
}
