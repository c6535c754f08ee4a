package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// Poll is ppoll(2) without its EINTR: it waits for one of the descriptors, or
// until the time is up; a negative timeout waits for ever. It returns how many
// are ready.
func Poll(fds []unix.PollFd, timeout time.Duration) (int, error) {
	var limit *unix.Timespec
	if timeout >= 0 {
		ts := unix.NsecToTimespec(int64(timeout))
		limit = &ts
	}
	for {
		// The kernel takes what has passed off the limit, so that a signal doesn't prolong the wait.
		n, err := unix.Ppoll(fds, limit, nil)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Until is the time left to a deadline, 0 if it has passed.
func Until(deadline time.Time) time.Duration { return max(0, time.Until(deadline)) }
