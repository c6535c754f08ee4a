// Command graceful-restart ends a target so that no job is lost: quiet, wait,
// stop, clean up.
package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/restart"
	"gracekit/lib/schedule"
	"gracekit/lib/service"
)

const usage = `usage: graceful-restart [-n] [-u] [--wait D] [--timeout D] [--quiet SIG] [--stop SIG] TARGET

End a target so that no job is lost. Its supervisor starts the new process.

Its workers are the target if it is a Sidekiq, else every Sidekiq below it,
else the target.
  1. The quiet signal to each worker that has a handler for it.
  2. A wait until the jobs of all workers have ended. One that is not a Sidekiq
     is waited for only if its quiet signal was set: until it exits; or if
     REDIS_URL is set and sidekiq-fleet finds its jobs there (JRuby).
  3. The stop signal to each worker. If it has not exited after twice its
     timeout: TTIN (a thread dump into its log) and KILL. Then TERM to the target.
  4. TERM, and KILL 5 s later, to what is left of its group, session and tree.

      --wait D     how long to wait for jobs (SHUTDOWN_WAIT, default 30)
      --timeout D  the worker's own timeout, as sidekiq -t (SIDEKIQ_TIMEOUT,
                   default 25)
      --quiet SIG  the quiet signal (QUIET_SIGNAL, default TSTP; "": none)
      --stop SIG   the stop signal (STOP_SIGNAL, default TERM)
  -u, --up         then wait until there is a new process, up to 60 s
  -n, --dry-run    print the steps and do nothing
  -q, --errors-only  no messages but errors
  -v, --verbose    say where each value comes from
  -h, --help       this text
      --version    the version

TARGET is a pid, PID:STARTTIME, a service directory or a pidfile (see svpid). D is
seconds, or 500ms, 90s, 15m, inf. A value that is not set is looked for in the
worker's arguments and environment, in those above it, and in the service's conf/.

Exit: 0 it has exited, or had before; 1 the service is down; 100 used wrongly;
      111 refused, something survived, or -u saw no new process.
`

func main() {
	runtime.GOMAXPROCS(1) // it waits nearly all the time: more threads are a tenth of its CPU time
	cli.Main("graceful-restart", usage, run)
}

func run(cmd *cli.Command) error {
	own := &values{from: map[string]string{}}
	dryRun, up := cmd.Bool("dry-run", "n"), cmd.Bool("up", "u")
	own.addOptions(cmd)
	words, err := cmd.Args(1, 1)
	if err != nil {
		return err
	}
	verbose := cmd.Verbose
	cmd.Verbose = !cmd.Quiet // each step is reported, because it may take long
	target, err := service.Parse(words[0])
	if err == nil {
		err = own.readEnvironment()
	}
	var limit restart.Limit
	if err == nil {
		limit, err = readLimit()
	}
	if err != nil {
		return cli.Misuse(err)
	}

	// A worker that was quieted stays quiet, so nothing may end this program half
	// way: no closed terminal (nor a logger that has exited, see cli.Stderr).
	signal.Ignore(syscall.SIGHUP, syscall.SIGTTOU)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	p, err := target.Open()
	if errors.Is(err, proc.ErrGone) {
		return noProcess(cmd, target, err, *up && !*dryRun)
	}
	if err != nil {
		return err
	}
	f := finder{cmd: cmd, verbose: verbose, own: own, place: findPlace(cmd, target, p, own.Restart == "worker")}
	return f.restart(ctx, limit, *dryRun, *up)
}

// noProcess is for a target that has none now.
func noProcess(cmd *cli.Command, target service.Target, err error, up bool) error {
	here := place{service: target, dir: directoryOf(target)}
	if here.isWantedDown() {
		cmd.Warn("%v: there is nothing to restart", err)
		return cli.Exit(cli.No)
	}
	cmd.Info("%v: nothing to stop", err)
	switch {
	case !up:
		return nil
	case !here.follows():
		return here.noSupervisor()
	}
	return here.awaitNew(cmd, proc.ID{})
}

// restart does it.
func (f *finder) restart(ctx context.Context, limit restart.Limit, dryRun, up bool) error {
	here := f.place
	old := here.target.ID
	config := restart.Config{Target: here.target, Values: f.values, Limit: limit, Size: f.measure(),
		AskRedis: redisAsker(ctx), Log: restart.Log{Info: f.cmd.Info, Warn: f.cmd.Warn, Error: f.cmd.Error}}
	if up && !here.follows() {
		return here.noSupervisor()
	}
	if dryRun {
		lines, err := restart.Plan(config)
		if err != nil {
			return err
		}
		return f.cmd.Write(strings.Join(lines, "\n") + "\n")
	}
	switch {
	case !here.follows():
		f.cmd.Info("%v has no known supervisor (runsv or s6-supervise): it is stopped, and whether it is started again is up to what started it", old)
	case here.isWantedDown():
		f.cmd.Info("%s is wanted down: %v is stopped and will not be started again", here.service.Text, old)
	}
	if here.dir != "" {
		l, err := openLock(here.dir, old)
		if err == nil {
			config.Lock = l
		} else {
			f.cmd.Info("cannot lock %s against a second restart: %v", here.service.Text, err)
		}
	}
	left, err := restart.Run(ctx, config)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("cannot end %s: still running after KILL", schedule.Describe(left))
	}
	f.cmd.Info("%v has exited, and nothing is left of its group, session, tree and mark", old)
	if up {
		return here.awaitNew(f.cmd, old)
	}
	return nil
}
