// Command memory-killer watches a worker with GitLab's settings: it computes the
// command line of gracewatch and becomes it, or leaves it in the background and
// becomes the worker.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/settings"
)

const usage = `usage: memory-killer [-n] -t TARGET
       memory-killer [-n] -1 TARGET
       memory-killer [-n] prog...
       memory-killer --check [-t TARGET]

Watch a worker with the settings of GitLab's Sidekiq memory killer: when it has
been over the soft limit for longer than the grace time, or is over the hard
limit, restart it gracefully.

  -t, --target TARGET  watch TARGET, in the foreground: for a service of its own
  -1, --once TARGET    one check, for cron; silent while there is nothing to say
  prog...              become prog and leave the watcher in the background; a
                       watcher that dies is not brought back: prefer -t
      --check          print every setting, where it came from and what is wrong
  -n, --dry-run        print the command line of gracewatch and do nothing
  -q, --quiet          only errors
  -v, --verbose        more messages
  -h, --help           this text
      --version        the version

TARGET is a pid, PID:STARTTIME, a service directory, a service name or a pidfile
(see svpid). The Sidekiqs at or below it are watched, each for itself.

Settings are in the environment, for example:
  SIDEKIQ_DAEMON_MEMORY_KILLER=1             a check each interval
  SIDEKIQ_MEMORY_KILLER_MAX_RSS=2G           soft limit
  SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS=80%   hard limit
memory-killer(8) has all of them.

Exit: that of gracewatch, or of prog; with -1: 0 nothing to do, or done, 1 there
      is no process, 75 postponed, 111 refused or failed; with --check: 0, or 1
      if something is wrong; 100 used wrongly, or a wrong setting.
`

func main() { cli.Main("memory-killer", usage, run) }

func run(cmd *cli.Command) error {
	watched, once := cmd.String("target", "t"), cmd.String("once", "1")
	check, dryRun := cmd.Bool("check", ""), cmd.Bool("dry-run", "n")
	words, err := cmd.Args(0, -1)
	if err != nil {
		return err
	}
	given := map[string]bool{"-t": cmd.Given("target"), "-1": cmd.Given("once"), "prog": len(words) > 0}
	if err := oneForm(given, *check); err != nil {
		return cli.Misuse(err)
	}
	if *check {
		return runCheck(cmd, *watched)
	}
	v, err := settings.Read(os.LookupEnv)
	if err != nil {
		return refuseSetting(err)
	}
	k := &killer{cmd: cmd, values: v, dryRun: *dryRun}
	switch {
	case given["-t"]:
		return k.watch(*watched)
	case given["-1"]:
		return k.once(*once)
	}
	return k.become(words)
}

// oneForm refuses a command line of more than one form, and of none.
func oneForm(given map[string]bool, check bool) error {
	forms := 0
	for _, is := range given {
		if is {
			forms++
		}
	}
	switch {
	case check && (given["-1"] || given["prog"]):
		return errors.New("--check takes -t TARGET alone")
	case check:
		return nil
	case forms == 0:
		return errors.New("something is missing (want -t TARGET, -1 TARGET, a program or --check)")
	case forms > 1:
		return errors.New("-t, -1 and a program exclude each other")
	}
	return nil
}

// refuseSetting is the end of a program with a wrong setting. Only an operator
// can mend that, so under runsv, which starts it again each second, the message
// comes once in ten seconds.
func refuseSetting(err error) error {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	if strings.TrimSpace(string(text)) == "runsv" {
		fmt.Fprintf(cli.Stderr, "memory-killer: fatal: %v\n", err)
		time.Sleep(10 * time.Second)
		return cli.Exit(cli.Usage)
	}
	return cli.Misuse(err)
}

// killer is what the settings and arguments say.
type killer struct {
	cmd    *cli.Command
	values *settings.Values
	dryRun bool
}

// limited tells whether there is anything to watch for.
func (k *killer) limited() bool {
	return !k.values.Soft.IsZero() || !k.values.Hard.IsZero() || k.values.MaxAge > 0
}

// legacy tells whether checks come from the job hook. Without a soft limit there
// is nothing that it could ask for.
func (k *killer) legacy() bool { return !k.values.Daemon && !k.values.Soft.IsZero() }

// watch becomes gracewatch for a target.
func (k *killer) watch(word string) error {
	target, err := service.Parse(word)
	if err != nil {
		return cli.Misuse(err)
	}
	argv := k.gracewatch()
	if k.legacy() || k.values.Control != "" {
		fifo, err := k.control(target)
		if err != nil {
			return err
		}
		argv = append(argv, fifo...)
	}
	if k.values.State != "" {
		argv = append(argv, "--state", k.values.State)
	}
	return k.exec(append(append(argv, word), k.restart()...))
}

// become leaves gracewatch in the background and becomes a program. Nothing but
// a wrong setting, or a program that is not there, keeps it from starting.
func (k *killer) become(prog []string) error {
	file, code, err := cli.Find(prog[0])
	if err != nil {
		return &cli.Error{Code: code, Err: err}
	}
	argv := k.gracewatch()
	var self string
	if p, err := proc.Open(os.Getpid()); err == nil {
		self = p.ID.String() // exec keeps it
		p.Close()
	} else if !k.dryRun {
		k.cmd.Error("%s is not watched: cannot hold process %d: %v", prog[0], os.Getpid(), err)
	}
	if self != "" || k.dryRun {
		fifo, err := k.backgroundControl()
		if err != nil {
			return err
		}
		state := k.backgroundState()
		argv = append(append(argv, fifo...), state...)
		if len(state) > 0 {
			argv = append(argv, "--wait-lock", "60s")
		}
		argv = append(append(argv, self), k.restart()...)
		if k.dryRun {
			return k.exec(argv)
		}
		if os.Getpid() == 1 {
			k.cmd.Warn("this is pid 1, which is never signalled: without an init before it (docker run --init, tini) it cannot be restarted")
		}
		if err := detach(argv); err != nil {
			k.cmd.Error("%s is not watched: %v", prog[0], err)
		}
	}
	return cli.ExecFile(file, prog)
}

// gracewatch is the part of its command line that does not depend on the target.
func (k *killer) gracewatch() []string {
	v := k.values
	argv := []string{"gracewatch", "--soft", v.Soft.String(), "--hard", v.Hard.String(), "--grace", v.Grace.String(), "--interval", v.Interval.String()}
	if v.Match != "" {
		argv = append(argv, "--match", v.Match)
	} else {
		argv = append(argv, "--scope", v.Scope)
	}
	if v.Measure != "rss" {
		argv = append(argv, "--measure", v.Measure)
	}
	if v.MaxAge > 0 {
		argv = append(argv, "--max-age", v.MaxAge.String())
	}
	if k.legacy() {
		argv = append(argv, "--legacy")
	}
	if v.Notify != "" {
		argv = append(argv, "--notify", v.Notify)
	}
	if k.cmd.Quiet {
		argv = append(argv, "--quiet")
	}
	return argv
}

// restart is the program that gracewatch runs: through Redis where a setting
// asks for what only Redis can say.
func (k *killer) restart() []string {
	v := k.values
	if v.MinPeers > 0 || len(v.LongWorkers) > 0 || v.PoisonAfter > 0 || v.RedisURL != "" {
		return []string{"sidekiq-fleet", "restart", "{}"}
	}
	return []string{"graceful-restart", "{}"}
}

// exec becomes a command line, or prints it.
func (k *killer) exec(argv []string) error {
	if k.dryRun {
		return k.cmd.Write(quote(argv) + "\n")
	}
	return k.cmd.Exec(argv)
}

// quote is a command line as one would type it.
func quote(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = word
		if word == "" || strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%") != "" {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
