// Command memory-killer watches a worker with GitLab's settings: it computes the
// command line of gracewatch and becomes it, or leaves it in the background and
// becomes the worker.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

Exit: that of gracewatch, or of prog; with -1: 0 nothing to do, or done, 1 no
      process, 75 postponed, 111 refused or failed; with --check: 0, or 1 if
      something is wrong; 100 wrong usage or a wrong setting.
`

func main() {
	if os.Args[0] == detachedName {
		os.Exit(startDetached(os.Args[1], os.Args[2:]))
	}
	cli.Main("memory-killer", usage, run)
}

func run(cmd *cli.Command) error {
	watched, once := cmd.String("target", "t"), cmd.String("once", "1")
	check, dryRun := cmd.Bool("check", ""), cmd.Bool("dry-run", "n")
	prog, err := cmd.Args(0, -1)
	if err != nil {
		return err
	}
	switch isWatch, isOnce, isProg := cmd.Given("target"), cmd.Given("once"), len(prog) > 0; {
	case isWatch && isOnce, isWatch && isProg, isOnce && isProg:
		return cli.Misusef("-t, -1 and a program cannot be combined")
	case *check && (isOnce || isProg):
		return cli.Misusef("--check cannot be combined with -1 or a program")
	case *check:
		return runCheck(cmd, *watched)
	case !isWatch && !isOnce && !isProg:
		return cli.Misusef("missing argument (want -t TARGET, -1 TARGET, a program or --check)")
	}
	k, err := newKiller(cmd, *dryRun)
	if err == nil {
		switch {
		case cmd.Given("target"):
			err = k.watch(*watched)
		case cmd.Given("once"):
			err = k.once(*once)
		default:
			err = k.become(prog)
		}
	}
	if e := (*wrongSetting)(nil); errors.As(err, &e) {
		return refuse(cmd, err, cli.Usage)
	}
	return err
}

// wrongSetting is the error of a setting that only an operator can correct.
type wrongSetting struct{ error }

// refuse ends the program because of what only an operator can correct. A
// supervisor starts it again each second, so it waits before it exits: the message
// then comes once in ten seconds.
func refuse(cmd *cli.Command, err error, code int) error {
	if above := proc.Ancestors(os.Getppid()); len(above) == 0 || !above[0].HasService() {
		return &cli.Error{Code: code, Err: err}
	}
	cmd.Fatal(err)
	time.Sleep(10 * time.Second)
	return cli.Exit(code)
}

// killer is a memory-killer with its settings and options.
type killer struct {
	cmd    *cli.Command
	values *settings.Values
	dryRun bool
	legacy bool // the job hook asks for checks
}

func newKiller(cmd *cli.Command, dryRun bool) (*killer, error) {
	v, err := settings.Read(os.LookupEnv)
	if err != nil {
		return nil, &wrongSetting{err}
	}
	if v.Notify != "" { // found now, and not when it is needed
		if v.Notify, err = cli.Find(v.Notify); err != nil {
			return nil, &wrongSetting{fmt.Errorf("MEMORY_KILLER_NOTIFY: %w", err)}
		}
	}
	// The watcher of a program does not work in its folder.
	v.State, v.Notify = full(v.State), full(v.Notify)
	// Without a soft limit there is nothing that the job hook could ask for.
	return &killer{cmd: cmd, values: v, dryRun: dryRun, legacy: !v.Daemon && !v.Soft.IsZero()}, nil
}

// full is a path in full; "" stays "".
func full(path string) string {
	if absolute, err := filepath.Abs(path); err == nil && path != "" {
		return absolute
	}
	return path
}

// watch becomes gracewatch for a target.
func (k *killer) watch(word string) error {
	target, err := service.Parse(word)
	if err != nil {
		return &wrongSetting{fmt.Errorf("--target: %w", err)}
	}
	if isMissingName(word) && target.Service() == "" {
		return &wrongSetting{fmt.Errorf("--target: no service %q (want a name of /etc/service, /run/service or /service, or a path)", word)}
	}
	directory := target.Service()
	if _, err := os.Stat(word); errors.Is(err, fs.ErrNotExist) && strings.Contains(word, "/") {
		directory = word // that of a service which is not there yet
	}
	control, err := k.control(directory)
	if err != nil {
		return err
	}
	if _, err := ownID(); err != nil && !k.dryRun { // an old kernel, which stays one
		return refuse(k.cmd, fmt.Errorf("%s is not watched: %w", word, err), cli.Refused)
	}
	k.makeNotes(directory)
	argv := append(k.gracewatch(), control...)
	if k.values.State != "" {
		argv = append(argv, "--state", k.values.State, "--history", k.values.State+".history")
	}
	return k.exec(append(append(argv, word), k.restart()...))
}

// isMissingName tells whether a word is neither a path, a file nor a process. Only a path is waited for: a name may be
// misspelled, and under a supervisor gracewatch would refuse it each second.
func isMissingName(word string) bool {
	_, err := os.Stat(word)
	return errors.Is(err, fs.ErrNotExist) && !strings.Contains(word, "/") && strings.Trim(word, "0123456789:") != ""
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
	if k.legacy {
		argv = append(argv, "--legacy")
	}
	if v.Notify != "" {
		argv = append(argv, "--notify", v.Notify)
	}
	if k.cmd.Quiet {
		argv = append(argv, "--quiet")
	}
	if k.cmd.Verbose {
		argv = append(argv, "--verbose")
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
