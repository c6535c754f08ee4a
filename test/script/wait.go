package script

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// until waits for what has no event of its own to wait for.
func until(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// wait-exit NAME CODE waits for the end of what was started, which must exit so.
func waitExit(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "wait-exit NAME CODE")
	p := started(ts, args[0])
	state := waitEnd(ts, args[0], p)
	if code := state.ExitCode(); strconv.Itoa(code) != args[1] {
		text, _ := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		ts.Fatalf("%s: %v, not %s\n%s", args[0], state, args[1], text)
	}
}

func waitEnd(ts *testscript.TestScript, name string, p *process) *os.ProcessState {
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("waited %v for the end of %s", patience, name)
	}
	return p.state
}

// wait-for FILE REGEXP waits until a file has it.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "wait-for FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var text []byte
	for deadline := time.Now().Add(patience); ; time.Sleep(3 * time.Millisecond) {
		if text, _ = os.ReadFile(ts.MkAbs(args[0])); re.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited %v for %q in %s:\n%s", patience, args[1], args[0], text)
		}
	}
}

// wait-gone PID|IDENTITY waits for the end of a process; that nobody has waited for it doesn't matter.
func waitGone(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "wait-gone PID|IDENTITY")
	p, err := open(args[0])
	if err != nil {
		return
	}
	defer p.Close()
	if n, err := proc.Poll([]unix.PollFd{p.PollFd()}, patience); n == 0 || err != nil {
		ts.Fatalf("waited %v for the end of %s (%v)", patience, args[0], err)
	}
}

// [!] alive PID|IDENTITY; a zombie is not.
func alive(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "alive PID|IDENTITY")
	p, err := open(args[0])
	lives := err == nil
	if lives {
		p.Close()
	}
	if lives == neg {
		ts.Fatalf("%s: alive is %v", args[0], lives)
	}
}

// wait-state PID LETTER waits for a state of /proc/PID/stat, such as T.
func waitState(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "wait-state PID LETTER")
	until(ts, "state "+args[1]+" of "+args[0], func() bool {
		text, err := os.ReadFile("/proc/" + args[0] + "/stat")
		ts.Check(err)
		return string(text[strings.LastIndexByte(string(text), ')')+2]) == args[1]
	})
}

// wait-phase SERVICE down|run|finish waits until the supervisor has written that into
// supervise/status: what ./run or ./finish wrote, and runsv's other files, come before.
func waitPhase(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "wait-phase SERVICE down|run|finish")
	until(ts, args[0]+" in "+args[1], func() bool {
		text, _ := os.ReadFile(ts.MkAbs(args[0] + "/supervise/status"))
		return phase(text) == args[1]
	})
}

// phase is what a status of runsv, or of s6-supervise (facts/supervise.md), says.
func phase(status []byte) string {
	switch phases := []string{"down", "run", "finish"}; len(status) {
	case 20:
		return phases[status[19]]
	case 35, 43:
		switch pid := binary.BigEndian.Uint64(status[24:]); {
		case pid == 0:
			return "down"
		case status[len(status)-1]&2 != 0:
			return "finish"
		}
		return "run"
	}
	return "" // not written yet
}

// wait-poll PID waits until a thread of a process is seen in ppoll(2) a few
// times running: it has looked at what it watches. One that has ended has, too.
func waitPoll(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "wait-poll PID")
	call := fmt.Sprintf("%d ", unix.SYS_PPOLL)
	seen := 0
	until(ts, args[0]+" in ppoll", func() bool {
		if p, err := open(args[0]); err == nil {
			p.Close()
		} else if errors.Is(err, proc.ErrGone) {
			return true
		}
		polls := false
		tasks, _ := filepath.Glob("/proc/" + args[0] + "/task/*/syscall")
		for _, file := range tasks {
			text, _ := os.ReadFile(file)
			polls = polls || strings.HasPrefix(string(text), call)
		}
		seen++
		if !polls {
			seen = 0
		}
		return seen == 3
	})
}

// wait-tick PID waits until a process that starts now has a later start time than this one.
func waitTick(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "wait-tick PID")
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	id, err := identity(pid)
	ts.Check(err)
	until(ts, "a tick of the clock", func() bool {
		var now unix.Timespec
		ts.Check(unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
		return uint64(now.Nano())/1e7 > id.Start // 100 ticks a second, on all architectures that Go has
	})
}

// peak NAME sets $NAME_kb, $NAME_b, $NAME_mb and $NAME_less_kb (one KB less) to
// VmHWM of the process $NAME, which doesn't change while it sleeps.
func peak(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, "peak NAME")
	text, err := os.ReadFile("/proc/" + ts.Getenv(args[0]) + "/status")
	ts.Check(err)
	found := regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`).FindSubmatch(text)
	if found == nil {
		ts.Fatalf("no VmHWM in %q", text)
	}
	kb, err := strconv.Atoi(string(found[1]))
	ts.Check(err)
	ts.Setenv(args[0]+"_kb", strconv.Itoa(kb))
	ts.Setenv(args[0]+"_less_kb", strconv.Itoa(kb-1))
	ts.Setenv(args[0]+"_b", strconv.Itoa(kb*1024))
	ts.Setenv(args[0]+"_mb", strconv.Itoa(kb/1024))
}
