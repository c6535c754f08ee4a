package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process runs beside the bench, in a group of its own.
type process struct {
	cmd *exec.Cmd
	out io.Reader
}

// running is what must not be left behind, whatever happens.
var running = map[process]bool{}

func start(name string, args ...string) process {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	p := process{cmd, out}
	running[p] = true
	return p
}

// startMonit starts monit with a cycle a second and a rule for the target.
func startMonit(target process, rule string) process {
	dir, err := filepath.Abs("monit." + target.pid())
	check(err)
	check(os.Mkdir(dir, 0o700))
	check(os.WriteFile(dir+"/target.pid", []byte(target.pid()), 0o600))
	check(os.WriteFile(dir+"/monitrc", fmt.Appendf(nil, `set daemon 1
set log %[1]s/monit.log
set pidfile %[1]s/monit.pid
set idfile %[1]s/monit.id
set statefile %[1]s/monit.state
check process target with pidfile %[1]s/target.pid
	%[2]s
`, dir, rule), 0o600))
	return start("sh", "-c", "exec monit -I -c "+dir+"/monitrc 2>/dev/null") // it logs to a file, too
}

func (p process) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

// waitReady waits for the line "ready".
func (p process) waitReady() {
	text := make([]byte, len("ready\n"))
	_, err := io.ReadFull(p.out, text)
	check(err)
	if string(text) != "ready\n" {
		check(fmt.Errorf("%s: %q is not ready", p.cmd.Path, text))
	}
}

// lifeAfterReady waits for the line "ready" and returns how long the process then lives; 0 if it ended before.
func (p process) lifeAfterReady() time.Duration {
	out := bufio.NewReader(p.out)
	if _, err := out.ReadString('\n'); err != nil {
		return 0
	}
	began := time.Now()
	io.Copy(io.Discard, out) // ends with the process
	return time.Since(began)
}

// kill ends the process and its group, and waits for it.
func (p process) kill() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.cmd.Wait()
	delete(running, p)
}

// cpu is the CPU time of all its threads so far, also of those that have ended.
func (p process) cpu() time.Duration {
	var ts unix.Timespec
	check(unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &ts)) // what clock_getcpuclockid(3) computes
	return time.Duration(ts.Nano())
}

// status is a number from /proc/PID/status: for sizes, KB.
func (p process) status(name string) int { return field("/proc/"+p.pid()+"/status", name) }

// reads is how many system calls of the read family it has made: a check makes one.
func (p process) reads() int { return field("/proc/"+p.pid()+"/io", "syscr") }

// field is the number behind "name:" in a file of /proc.
func field(path, name string) int {
	for _, l := range strings.Split(line(path), "\n") {
		if value, ok := strings.CutPrefix(l, name+":"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			check(err)
			return n
		}
	}
	check(fmt.Errorf("%s: no %s", path, name))
	return 0
}

// line is the text of a file without the newline at its end.
func line(path string) string {
	text, err := os.ReadFile(path)
	check(err)
	return strings.TrimSuffix(string(text), "\n")
}

// run is the wall time of one run of a command.
func run(name string, args ...string) time.Duration {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	check(err)
	return took
}

// wait waits for what takes no measured time, at most a minute.
func wait(what string, cond func() bool) {
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			check(fmt.Errorf("waited a minute: %s", what))
		}
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// killOnSignal leaves nothing behind when a signal ends the bench.
func killOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	check(fmt.Errorf("ended by %v", <-signals))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: fatal:", err)
		for p := range running {
			p.kill()
		}
		os.Exit(111)
	}
}
