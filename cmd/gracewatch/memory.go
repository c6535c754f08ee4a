package main

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spareMemory has garbage collected only when there is most of a MB of it (the
// runtime itself counts for 4): a check makes none, and a collector that wakes
// each other minute costs more than all checks. One thread runs at a time, so
// that the runtime's monitor sleeps while the loop does.
func spareMemory() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(5 << 20)
	runtime.GOMAXPROCS(1)
}

// rest gives back what only the start, or a restart, has needed: garbage, and
// most pages of the binary. What is needed again comes back from the page cache.
func rest() {
	debug.FreeOSMemory()
	forgetCode()
}

func forgetCode() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps") // proc_pid_maps(5): START-END PERMS ... FILE
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1][1] == 'w' || fields[5] != exe {
			continue // what is written to is ours alone, and would be lost
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, errStart := strconv.ParseUint(from, 16, 64)
		end, errEnd := strconv.ParseUint(to, 16, 64)
		if errStart == nil && errEnd == nil {
			unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}
