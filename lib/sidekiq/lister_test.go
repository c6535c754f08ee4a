package sidekiq

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// startRuby starts a Ruby program in a process group of its own, which is killed
// at the end of the test. It returns when the program has printed "ready", and
// gives the lines before that to each.
func startRuby(t *testing.T, text string, each func(line string)) *proc.Process {
	t.Helper()
	if _, err := exec.LookPath("ruby"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("ruby", "--disable-gems", "-r", "./testdata/family.rb", "-e", text+"; puts :ready; sleep")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() { kill(); cmd.Wait() })
	defer time.AfterFunc(time.Minute, kill).Stop()
	target, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return target
		}
		each(lines.Text())
	}
	t.Fatalf("%s: has ended", text)
	return nil
}

// list runs a Ruby program as the target, and returns what is listed and what it wants.
func list(t *testing.T, text string) (got, want []int) {
	t.Helper()
	target := startRuby(t, text, func(line string) {
		pid, err := strconv.Atoi(strings.TrimPrefix(line, "want "))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, pid)
	})
	slices.Sort(want)
	lister := NewLister()
	for range 2 { // the second look remembers the first
		found, err := lister.List(target)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, id := range found {
			got = append(got, id.PID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			break
		}
	}
	return got, want
}

func TestTheSidekiqsOfATargetAreListed(t *testing.T) {
	for name, text := range map[string]string{
		"the target itself":                                 `heart; want`,
		"the target itself, Sidekiq 7":                      `heart "sidekiq.heartbeat"; want`,
		"one below a parent":                                `want child { heart }`,
		"those that a swarm's parent has forked":            `2.times { want child { heart } }`,
		"one below a shell":                                 `program "want; heart", "sh", "-c", %q("$@"; :), "sh"`,
		"no target that has no heartbeat":                   `Thread.new { sleep }`,
		"no process that has the name of the thread":        `File.write "/proc/self/comm", "heartbeat"; Thread.new { sleep }`,
		"no fork of the target's jobs":                      `heart; want; child { }; child { heart }`,
		"no program of the target's jobs":                   `heart; want; program "heart"`,
		"no fork of a job, below a parent":                  `want child { heart; child { } }`,
		"no fork of a job that starts a heartbeat":          `want child { heart; child { heart } }`,
		"no fork of a fork of a job":                        `want child { heart; child { child { heart } } }`,
		"no fork made in the heartbeat's thread":            `want child { heart; q = Queue.new; Thread.new { Thread.current.name = "heartbeat"; q << child { Thread.new { sleep } } }; q.pop }`,
		"a program of a job, below a parent":                `want child { heart; program "heart; want" }`,
		"what a program of a job has forked":                `want child { heart; program "want child { heart }" }`,
		"several, at several depths":                        `want child { heart }; child { want child { heart } }`,
		"none among threads that have other names":          `%w[heartbeats heart sidekiq.heart sidekiq].each { |n| heart n }`,
		"one whose main thread has the name of a processor": `want child { heart; Thread.current.name = "processor" }`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := list(t, text); !slices.Equal(got, want) {
				t.Errorf("%s: listed %v, want %v", text, got, want)
			}
		})
	}
}

func TestATargetThatHasEndedIsNotListed(t *testing.T) {
	target, lister := startRuby(t, "", nil), NewLister()
	if found, err := lister.List(target); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	target.Signal(syscall.SIGKILL)
	proc.Poll([]unix.PollFd{target.PollFd()}, time.Minute)
	_, errZombie := lister.List(target)
	unix.Wait4(target.ID.PID, nil, 0, nil)
	_, errReaped := lister.List(target)
	if !errors.Is(errZombie, proc.ErrGone) || !errors.Is(errReaped, proc.ErrGone) {
		t.Errorf("as a zombie: %v; reaped: %v", errZombie, errReaped)
	}
}
