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

	"gracekit/lib/proc"
)

// list runs a Ruby program as the target, and returns what is listed and what it wants.
func list(t *testing.T, text string) (got, want []int) {
	t.Helper()
	if _, err := exec.LookPath("ruby"); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "ruby", "--disable-gems", "-r", "./testdata/family.rb", "-e", text+"; puts 'ready'; sleep")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		pid, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "want "))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, pid)
	}
	target, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	lister := NewLister()
	for look := range 2 { // the second one remembers the first
		found, err := lister.List(target)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, id := range found {
			got = append(got, id.PID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if look == 0 && !slices.Equal(got, want) {
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
		"no process that has the name of the thread":        `Thread.current.name = "heartbeat"; Thread.new { sleep }`,
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
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	target, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	lister := NewLister()
	if found, err := lister.List(target); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	cmd.Process.Kill()
	cmd.Process.Wait()
	if found, err := lister.List(target); !errors.Is(err, proc.ErrGone) {
		t.Errorf("%v, %v", found, err)
	}
}
