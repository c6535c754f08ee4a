package main

import (
	"bufio"
	"math"
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

// lowOOMScore has nearly everything else killed first, as the watcher is small.
const lowOOMScore = "-900"

// stayIn keeps gracewatch in memory when memory is short, where that is allowed:
// its check must come in time just then.
func (w *watch) stayIn() {
	if w.o.noLock {
		return
	}
	const onFault = 4 // MCL_ONFAULT, mlock2(2): what is used, not all that is mapped
	unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | onFault)
	writeOOMScore(lowOOMScore)
}

// rest gives back what only the start, or a restart, has needed: garbage, and
// most pages of the binary.
func (w *watch) rest() {
	debug.FreeOSMemory()
	w.forgetCode()
}

// forgetCode gives back the pages of the binary. What is needed again comes back
// from the page cache.
func (w *watch) forgetCode() {
	unix.Munlockall() // locked pages cannot be given back
	for _, s := range w.code {
		unix.Syscall(unix.SYS_MADVISE, s.start, s.end-s.start, unix.MADV_DONTNEED)
	}
	w.stayIn()
}

// machineKB is all there is, memory and swap (sysinfo(2)), for a size that is read.
func machineKB() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxInt64
	}
	return int64((uint64(info.Totalram) + uint64(info.Totalswap)) * uint64(info.Unit) / 1024)
}

// span is a part of this process's memory.
type span struct{ start, end uintptr }

// ownCode finds where the binary is mapped, and nobody has written to it.
func ownCode() (code []span) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	maps, err := os.Open("/proc/self/maps") // proc_pid_maps(5): START-END PERMS ... FILE
	if err != nil {
		return nil
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
		// What was put in its place while loading (PIE) is ours alone too, and lies high; with 32 bits that is not seen.
		fixed := strconv.IntSize == 64 && end < 1<<32
		if errStart == nil && errEnd == nil && (fixed || fields[1][2] == 'x') {
			code = append(code, span{uintptr(start), uintptr(end)})
		}
	}
	return code
}

const oomScore = "/proc/self/oom_score_adj"

func readOOMScore() string {
	text, _ := os.ReadFile(oomScore)
	return strings.TrimSpace(string(text))
}

// writeOOMScore does what it may: an ordinary user cannot lower it.
func writeOOMScore(score string) { os.WriteFile(oomScore, []byte(score), 0) }

// asStarted starts a program with the score that gracewatch was started with.
func (w *watch) asStarted(start func() error) error {
	if w.o.noLock || w.oomScore == "" {
		return start()
	}
	writeOOMScore(w.oomScore)
	defer writeOOMScore(lowOOMScore)
	return start()
}
