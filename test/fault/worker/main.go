// Command worker is what the fault tests restart, and what restarts it: a
// process that grows and becomes quiet by a signal, and the program that sends
// it. Both note what happens to them in a journal.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

const usage = `usage: worker serve [-max KB] [-after DURATION] JOURNAL
       worker restart [-quiet DURATION] JOURNAL

serve: small; after DURATION (0: not before SIGUSR2) it grows by KB. USR1 makes
it small again, TSTP quiet, and small, too: nothing but the memory of its
restarter says that it must go. TERM ends it.
restart: sends TSTP to the process of GRACE_TARGET, waits that long, ends it.

A line of the journal: NANOSECONDS OF CLOCK_BOOTTIME, EVENT, IDENTITY.
`

func main() {
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	if len(os.Args) < 2 {
		flag.Usage()
		os.Exit(100)
	}
	limit := flag.Int("max", 0, "")
	after := flag.Duration("after", 0, "")
	quiet := flag.Duration("quiet", 0, "")
	check(flag.CommandLine.Parse(os.Args[2:]))
	j, err := os.OpenFile(flag.Arg(0), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	check(err)
	if os.Args[1] == "serve" {
		serve(j, *limit, *after)
		return
	}
	restart(j, *quiet)
}

func note(j *os.File, event string, id proc.ID) {
	_, err := fmt.Fprintf(j, "%d %s %v\n", proc.Now(), event, id) // one write: whole, with O_APPEND
	check(err)
}

func serve(j *os.File, limit int, after time.Duration) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTSTP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	self, err := proc.Open(os.Getpid())
	check(err)
	note(j, "START", self.ID)
	var held []byte
	var grow <-chan time.Time
	if after > 0 {
		grow = time.After(after)
	}
	for {
		sig := unix.SIGUSR2
		select {
		case <-grow:
		case s := <-signals:
			sig = s.(unix.Signal)
		}
		switch {
		case sig == unix.SIGTERM:
			note(j, "END", self.ID)
			return
		case sig == unix.SIGUSR2 && held == nil:
			note(j, "GROWS", self.ID)
			held, err = unix.Mmap(-1, 0, limit<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
			check(err)
			note(j, "LARGE", self.ID)
		case sig != unix.SIGUSR2:
			if held != nil {
				check(unix.Munmap(held))
				held = nil
			}
			grow = nil
			note(j, map[unix.Signal]string{unix.SIGUSR1: "SMALL", unix.SIGTSTP: "QUIET"}[sig], self.ID)
		}
	}
}

func restart(j *os.File, quiet time.Duration) {
	id, err := proc.ParseID(os.Getenv("GRACE_TARGET"))
	check(err)
	note(j, "RESTART", id)
	p, err := proc.OpenID(id)
	if err != nil {
		note(j, "GONE", id)
		return
	}
	check(p.Signal(unix.SIGTSTP))
	wait(p, quiet)
	p.Signal(unix.SIGTERM)
	wait(p, -1)
	note(j, "RESTARTED", id)
}

func wait(p *proc.Process, most time.Duration) {
	_, err := proc.Poll([]unix.PollFd{p.PollFd()}, most)
	check(err)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker: fatal:", err)
		os.Exit(111)
	}
}
