package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	ossignal "os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/units"
)

const lockUsage = `usage: sidekiq-fleet lock [--ttl DURATION] NAME prog...

Run prog while no other host runs one under a lock of that NAME. The lock lives
in Redis, is renewed while prog runs, and ends with it.

      --ttl DURATION  how long it outlives this program, if that is killed (60s)

Exit: that of prog, 128 + N if signal N ended it; 1 another one has the lock;
      100 used wrongly; 111 Redis gave no answer; 126, 127 prog cannot be run.
`

func lock(above *command, args []string) int {
	c := above.named(lockUsage)
	ttl := units.Duration(time.Minute)
	c.Var(&ttl, "ttl", "")
	words, code := c.begin(above, args, 2, -1)
	if code != cli.Continue {
		return code
	}
	defer c.fleet.Close()
	if ttl.Std() < time.Second || ttl == units.Never {
		return c.Misused(fmt.Errorf("--ttl: %v is no time for a lock that is renewed (60s)", ttl))
	}
	name := words[0]
	if name == "" || strings.ContainsAny(name, " \t\n") {
		return c.Misused(fmt.Errorf("%q is no name of a lock", name))
	}
	file, code, err := cli.Find(words[1])
	if err != nil {
		c.Error("%v", err)
		return code
	}
	host, _ := os.Hostname()
	taken := time.Now()
	l, holder, err := c.fleet.Lock(name, fmt.Sprintf("%s, pid %d", host, os.Getpid()), ttl.Std())
	if err != nil {
		return c.failed(err)
	}
	if l == nil {
		c.Warn("the lock %s is held by %s", name, holder)
		return cli.No
	}
	code = c.runLocked(l, taken, &exec.Cmd{Path: file, Args: words[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}}, ttl.Std())
	c.fleet.Begin()
	if err := l.Unlock(); err != nil {
		c.Warn("%v: the lock %s ends in %v", err, name, ttl)
	}
	return code
}

// runLocked runs the program to its end and renews the lock meanwhile. The program is told to end
// before another host can have the lock.
func (c *command) runLocked(l *fleet.Lock, taken time.Time, cmd *exec.Cmd, ttl time.Duration) int {
	runtime.LockOSThread() // Pdeathsig is about the thread that starts it
	signals := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if !ossignal.Ignored(sig) { // as nohup has it
			ossignal.Notify(signals, sig)
		}
	}
	defer ossignal.Stop(signals)
	if err := cmd.Start(); err != nil {
		c.Error("cannot run %q: %v", cmd.Args[0], err)
		return cli.CannotRun
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	lost := make(chan struct{})
	stop := make(chan struct{})
	defer close(stop)
	go c.keep(l, taken, ttl, lost, stop)
	for {
		select {
		case err := <-ended:
			return exitCode(err)
		case sig := <-signals:
			cmd.Process.Signal(sig)
		case <-lost:
			c.Error("the lock is lost: %s is told to end", cmd.Args[0])
			cmd.Process.Signal(syscall.SIGTERM)
			lost = nil
		}
	}
}

// keep renews the lock, and closes lost when that is another's, or will be soon because Redis doesn't answer.
func (c *command) keep(l *fleet.Lock, taken time.Time, ttl time.Duration, lost, stop chan struct{}) {
	good := taken.Add(ttl)
	for {
		select {
		case <-stop:
			return
		case <-time.After(ttl / 6):
		}
		asked := time.Now()
		held, err := l.Renew(asked.Add(ttl / 6))
		if held {
			good = asked.Add(ttl)
		}
		if err == nil && !held || time.Now().After(good.Add(-ttl/3)) {
			close(lost)
			return
		}
	}
}

// exitCode is how a program ended, as a shell says it.
func exitCode(err error) int {
	var exit *exec.ExitError
	if err == nil {
		return cli.Yes
	}
	if !errors.As(err, &exit) {
		return cli.Refused
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}
