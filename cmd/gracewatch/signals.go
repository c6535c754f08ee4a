package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
)

// catchSignals returns a descriptor that becomes readable when gracewatch is to
// end.
func catchSignals() (fd int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	caught := make(chan os.Signal, 8)
	for _, sig := range []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if !signal.Ignored(sig) { // nohup
			signal.Notify(caught, sig)
		}
	}
	go func() {
		for range caught {
			unix.Write(pipe[1], []byte{1})
		}
	}()
	return pipe[0], nil
}

// waitDisabled says that there is nothing to do. In front of a service it waits
// to be ended, so that its supervisor doesn't start it over and over.
func waitDisabled(o options, log events, signals int) int {
	log.disabled()
	if o.follow && !o.once {
		if _, err := proc.Poll([]unix.PollFd{{Fd: int32(signals), Events: unix.POLLIN}}, -1); err != nil {
			return cli.Refused
		}
	}
	return cli.Yes
}
