package watch

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// SpareMemory has garbage collected only when there is more than a MB of it (the
// runtime itself counts for 4): a check of one process makes none, and a
// collector that wakes each other minute costs more than all checks. A limit that
// is lower has it run at nearly each check of a tree. One thread runs at a time,
// so that the runtime's monitor sleeps while the loop does.
func SpareMemory() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(5632 << 10)
	runtime.GOMAXPROCS(1)
}

// makeThreads makes the threads that the Go runtime will need. It makes one when
// another is in a system call, a signal for example, and ends the program where it
// cannot: in a cgroup that is at its pids limit.
func makeThreads() {
	const threads = 4
	var all, locked sync.WaitGroup
	release := make(chan struct{})
	for range threads {
		all.Add(1)
		locked.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread() // each needs a thread of its own as long as all are here
			locked.Done()
			<-release
			runtime.UnlockOSThread() // the thread stays, idle
		}()
	}
	locked.Wait()
	close(release)
	all.Wait()
}

// exercise goes through what a restart needs, once: fork and exec, of nothing, the
// snapshot, and a line of the log. Its code is in memory then.
func (l *loop) exercise() {
	if l.cfg.DryRun || l.cfg.Once {
		return
	}
	log := l.cfg.Log
	l.cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	notifier := l.notifier
	l.notifier = nil
	l.event(RestartBegin, nil, slog.Int64("rss_kb", 0))
	l.cfg.Log, l.notifier = log, notifier
	l.world.Start([]string{"/", "nothing"}, nil)
	l.dirty = true
	l.save()
}

// lockMemory keeps gracewatch, and the file of its prog, in memory when memory is
// short: it must act just then. An ordinary user may lock less than it maps.
func lockMemory(cfg *Config) {
	if cfg.NoLock || cfg.Once {
		return
	}
	lockFile(cfg.File)
	const onFault = 4 // MCL_ONFAULT, mlock2(2): what is used, not all that is mapped
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | onFault)
	if err == unix.ENOMEM { // not that there is no memory
		err = errors.New("it maps more than is allowed (ulimit -l)")
	}
	if err != nil {
		cfg.Messages.Note("cannot lock the memory: %v", err)
	}
}

// mostLocked is how much of prog's file is locked, in bytes: any of our programs.
const mostLocked = 4 << 20

// lockFile maps a file and keeps it in memory.
func lockFile(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(min(info.Size(), mostLocked)), unix.PROT_READ, unix.MAP_SHARED)
	if err == nil {
		unix.Mlock(m) // where this is refused, lockMemory logs it
	}
}

// trimMemory gives back the garbage of a restart. It is not done at the start: a
// collection takes half a MB itself, and there is less garbage than that.
func trimMemory() { debug.FreeOSMemory() }

// machineKB is all there is, memory and swap (sysinfo(2)), for a size that is read.
func machineKB() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxInt64
	}
	return int64((uint64(info.Totalram) + uint64(info.Totalswap)) * uint64(info.Unit) / 1024)
}

// oomScore is what gracewatch has, and what programs get that it starts.
type oomScore struct {
	mutex  sync.Mutex
	before string // what gracewatch was started with; empty: it is left alone
}

const (
	oomScoreFile = "/proc/self/oom_score_adj"
	lowOOMScore  = "-900" // nearly everything else is killed first, as the watcher is small
)

// lowerOOMScore does what it may: an ordinary user cannot lower it.
func lowerOOMScore(cfg *Config) *oomScore {
	s := &oomScore{}
	if cfg.NoLock {
		return s
	}
	text, _ := os.ReadFile(oomScoreFile)
	s.before = strings.TrimSpace(string(text))
	writeOOMScore(lowOOMScore)
	return s
}

// start starts a program with the score that gracewatch was started with.
func (s *oomScore) start(start func() error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.before == "" {
		return start()
	}
	writeOOMScore(s.before)
	defer writeOOMScore(lowOOMScore)
	return start()
}

func writeOOMScore(score string) { os.WriteFile(oomScoreFile, []byte(score), 0) }
