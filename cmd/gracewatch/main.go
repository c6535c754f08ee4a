// Command gracewatch watches how large a target is, and runs a program when it
// must go.
package main

import (
	"io"
	"os"

	"gracekit/lib/cli"
)

const usage = `usage: gracewatch [options] TARGET [prog...]

Watch the memory of TARGET's process. Over the soft limit for longer than the
grace time, or over the hard limit: run prog, in which {} stands for the
identity, PID:STARTTIME; without a prog, exit 0. A service directory is followed
from one process to the next.

  -s, --soft SIZE          soft limit
  -H, --hard SIZE          hard limit
  -g, --grace DURATION     how long it may stay over the soft limit (15m)
  -i, --interval DURATION  between checks (3s); 0: only when told to
  -m, --measure FIELD      rss (default), pss, uss, anon, rss+swap
  -S, --scope SCOPE        process (default), group, tree; children: each child
                           is watched and restarted for itself, one at a time
  -L, --legacy             once over the soft limit there is no way back: the
                           restart comes when the grace time is over
  -a, --max-age DURATION   older processes are restarted too (none); up to a
                           tenth is added, another part for each process
  -r, --retry DURATION     wait after a restart that was put off or failed (60s)
      --prog-timeout DURATION  prog gets TERM, then KILL, and has failed (none)
  -c, --control FIFO       make FIFO and read commands from it: c check now,
                           t restart now, p pause, u go on, x exit
      --control-group NAME let a group write to it
  -f, --state FILE         where it notes what it is doing, and goes on after it
                           was killed (in a service: supervise/gracewatch)
  -1, --once               one check, then exit, for cron
  -n, --dry-run            say what it would do, and do nothing
      --no-lock            do not lock its memory, nor lower its oom_score_adj
      --log-format FORMAT  text (default) or json
  -q, --quiet              only errors
  -v, --verbose            more messages
  -h, --help               this text
      --version            the version

TARGET is a pid, PID:STARTTIME, a service directory or a pidfile (see svpid).
SIZE is KB, or has a suffix B K M G T, or is a share of the memory there: 80%.
DURATION is seconds, or 500ms, 90s, 15m, 1h30m, inf.

prog has GRACE_TARGET, GRACE_SERVICE, GRACE_REASON (soft, hard, legacy, age,
control), GRACE_RSS_KB, GRACE_LIMIT_KB and GRACE_OVER_SECONDS in its
environment. It exits 0 when the process is gone, 1 for not now (tried again
after --retry, if still over), anything else for an error (tried again after
--retry).

Exit: 0 restarted, or without prog: time for it; with -1: nothing to do, or
      done; 1 the process ended by itself; with -1 also: put off, or, without
      prog, not time for it; 100 used wrongly; 111 refused, or with -1 a restart
      that failed; 126, 127 prog cannot be run, was not found.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, cli.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	spareMemory()
	cmd := cli.New("gracewatch", usage, stdout, stderr)
	o, code := parse(cmd, args)
	if code != cli.Continue {
		return code
	}
	signals, err := catchSignals()
	if err != nil {
		return cmd.Refused(err)
	}
	log := newLog(stderr, o)
	if !o.limited() {
		return waitDisabled(o, log, signals)
	}
	w := newWatch(o, cmd, log, signals)
	defer w.close()
	if o.control != "" {
		if w.control, err = openControl(o); err != nil {
			return cmd.Refused(err)
		}
	}
	if code := w.meet(); code != cli.Continue {
		return code
	}
	w.forgetCode()
	return w.loop()
}
