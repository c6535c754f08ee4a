package main

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
)

// catchSignals returns a descriptor that becomes readable when gracewatch is to
// end. SIGPIPE is caught and dropped: a logger that dies must not end the watcher.
func catchSignals() (fd int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	caught := make(chan os.Signal, 8)
	signal.Notify(caught, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	go func() {
		for sig := range caught {
			if sig != unix.SIGPIPE {
				unix.Write(pipe[1], []byte{1})
			}
		}
	}()
	return pipe[0], nil
}

// now is CLOCK_BOOTTIME: it counts while the machine is suspended, and nobody sets it.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// waitDisabled says that there is nothing to do. In front of a service it waits
// to be ended, so that its supervisor doesn't start it over and over.
func waitDisabled(o options, log events, signals int) int {
	log.disabled()
	if o.follow {
		if _, err := proc.Poll([]unix.PollFd{{Fd: int32(signals), Events: unix.POLLIN}}, -1); err != nil {
			return cli.Refused
		}
	}
	return cli.Yes
}
