package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	ossignal "os/signal"
	"strings"
	"syscall"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/limit"
	"gracekit/lib/sidekiq/fleet"
)

const lockUsage = `usage: sidekiq-fleet lock [--ttl DURATION] NAME prog...

Run prog while no other host runs one under a lock of that NAME. The lock lives in
Redis, is renewed while prog runs, and ends with it.

      --ttl DURATION  how long it outlives this program, should that be killed (60s)

Exit: that of prog, 128 + N if signal N ended it; 1 another one has the lock;
      100 used wrongly; 111 Redis gave no answer; 126, 127 prog cannot be run.
`

func lock(above *command, args []string) int {
	c := above.named(lockUsage)
	ttl := limit.Duration(time.Minute)
	c.Var(&ttl, "ttl", "")
	words, code := c.begin(above, args, 2, -1)
	if code != cli.Continue {
		return code
	}
	defer c.fleet.Close()
	if ttl.Std() < time.Second || ttl == limit.Forever {
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
	l, holder, err := c.fleet.Lock(name, fmt.Sprintf("%s, pid %d", host, os.Getpid()), ttl.Std())
	if err != nil {
		return c.failed(err)
	}
	if l == nil {
		c.Warn("the lock %s is held by %s", name, holder)
		return cli.No
	}
	code = c.runLocked(l, &exec.Cmd{Path: file, Args: words[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}}, ttl.Std())
	if err := l.Unlock(); err != nil {
		c.Warn("%v: the lock %s ends in %v", err, name, ttl)
	}
	return code
}

// runLocked runs the program to its end and renews the lock meanwhile. A lock that is lost ends the program.
func (c *command) runLocked(l *fleet.Lock, cmd *exec.Cmd, ttl time.Duration) int {
	signals := make(chan os.Signal, 8)
	ossignal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer ossignal.Stop(signals)
	if err := cmd.Start(); err != nil {
		c.Error("cannot run %q: %v", cmd.Args[0], err)
		return cli.NoExec
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	renew := time.NewTicker(ttl / 3)
	defer renew.Stop()
	good := time.Now().Add(ttl)
	for {
		select {
		case err := <-ended:
			return exitCode(err)
		case sig := <-signals:
			cmd.Process.Signal(sig)
		case <-renew.C:
			asked := time.Now()
			held, err := l.Renew()
			if held {
				good = asked.Add(ttl)
			}
			if err == nil && !held || err != nil && time.Now().After(good) {
				c.Error("the lock is lost: %s is told to end", cmd.Args[0])
				cmd.Process.Signal(syscall.SIGTERM)
				renew.Stop()
			}
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
