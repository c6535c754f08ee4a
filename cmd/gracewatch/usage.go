package main

const usage = `usage: gracewatch [options] TARGET [prog...]

Watch the memory of TARGET's process. When it has been over the soft limit for
longer than the grace time, or is over the hard limit, run prog, in which {}
stands for the identity, PID:STARTTIME. Without a prog, exit 0. A service
directory is followed from one process to the next.

  -s, --soft SIZE          soft limit
  -H, --hard SIZE          hard limit
  -g, --grace DURATION     how long it may stay over the soft limit (15m)
  -i, --interval DURATION  between checks (3s); 0: only on command
  -m, --measure FIELD      rss (default), pss, uss, anon, rss+swap
  -S, --scope SCOPE        process (default), group, tree, cgroup; children,
                           sidekiq: each child, or each Sidekiq of the tree, is
                           watched and restarted for itself, one at a time
      --match GLOB         scope: each process of the tree whose title or name
                           matches, for itself
  -L, --legacy             once over the soft limit, the restart can no longer be
                           cancelled: it happens when the grace time expires
  -a, --max-age DURATION   restart older processes too (default: never); up to a
                           tenth is added, a different part for each process
  -r, --retry DURATION     wait after a restart that was postponed or failed (60s)
      --prog-timeout DURATION  then prog gets TERM, then KILL, and has failed
                           (default: none)
      --in-place           prog shrinks the process and does not end it: the
                           restart is done when the size is under the limit
                           within --retry
  -c, --control FIFO       make FIFO and read commands from it: c check now,
                           t restart now, p pause, u resume, x exit (a service
                           has supervise/gracewatch.control, too)
      --control-group NAME let a group write to it
  -f, --state FILE         where it keeps what it is doing, to resume after it
                           was killed (in a service: supervise/gracewatch)
      --wait-lock DURATION how long to wait for another gracewatch to release
                           the state file (0)
      --history FILE       one sample a minute for a week (in a service:
                           supervise/gracewatch.history)
      --no-history         no such file
      --notify PROG        run PROG for warnings, errors and finished restarts
  -1, --once               one check, then exit, for cron
  -n, --dry-run            log what it would do, and do nothing
      --no-lock            do not lock its memory, nor lower its oom_score_adj
      --log-format FORMAT  text (default) or json
  -q, --quiet              only errors
  -v, --verbose            more messages
  -h, --help               this text
      --version            the version

TARGET is a pid, PID:STARTTIME, a service directory, a service name or a pidfile
(see svpid). SIZE is KB, or has a suffix B K M G T, or is a share of the memory
there is: 80%. DURATION is seconds, or 500ms, 90s, 15m, 1h30m, inf.

prog has GRACE_TARGET, GRACE_SERVICE, GRACE_REASON (soft, hard, legacy, age,
control), GRACE_RSS_KB, GRACE_LIMIT_KB, GRACE_HARD_KB and GRACE_OVER_SECONDS in
its environment. It exits 0 when the process has exited; 75 for not now, which is
tried again after --retry if the process is still over its limit; anything else
is a failure, and the restart begins again after --retry at any size.

Exit: 0 restarted, or without prog: time for it; with -1: nothing to do, or
      done; 1 the process exited by itself; with -1 and without prog: not time
      for it; 75 with -1: postponed; 100 wrong usage; 111 refused, or with -1 a
      restart that failed; 126, 127 prog cannot be run, was not found.
`
