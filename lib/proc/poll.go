package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// Poll is ppoll(2) without its EINTR: it waits for one of the descriptors, or
// until the time is up; a negative timeout waits for ever. It returns how many
// are ready.
func Poll(fds []unix.PollFd, timeout time.Duration) (int, error) {
	if timeout < 0 {
		return pollUntil(fds, nil)
	}
	ts := unix.NsecToTimespec(int64(timeout))
	return pollUntil(fds, &ts)
}

func pollUntil(fds []unix.PollFd, timeout *unix.Timespec) (int, error) {
	for {
		// The kernel takes what has passed off the timeout, so that a signal doesn't prolong the wait.
		n, err := unix.Ppoll(fds, timeout, nil)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Until is the time left to a deadline, 0 if it has passed.
func Until(deadline time.Time) time.Duration { return max(0, time.Until(deadline)) }
