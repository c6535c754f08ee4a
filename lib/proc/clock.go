package proc

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tklauser/go-sysconf"
	"golang.org/x/sys/unix"
)

// Now is CLOCK_BOOTTIME: it counts while the machine is suspended, it cannot be
// set, and start times are read from it.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // there since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

var tick = sync.OnceValue(func() time.Duration {
	hz, err := sysconf.Sysconf(sysconf.SC_CLK_TCK)
	if err != nil {
		panic(err) // Linux always knows
	}
	return time.Second / time.Duration(hz)
})

// StartTime is when the process was started, on the clock of Now, to the clock tick.
func (id ID) StartTime() time.Duration { return time.Duration(id.Start) * tick() }

// Boot is the name of this boot of the machine (/proc/sys/kernel/random/boot_id):
// times of Now and identities mean nothing in another one.
func Boot() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}
