package watch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// notifier runs a program for events: one at a time, the same event at most once
// a minute, and each for ten seconds at most.
type notifier struct {
	cfg        *Config
	score      *oomScore
	queue      chan []string            // environments
	last       map[string]time.Duration // when each event was sent
	suppressed map[string]int           // since then
	done       chan struct{}            // closed when the last one has run
	ctx        context.Context          // cancelled when gracewatch ends
	cancel     context.CancelFunc
}

const (
	notifyEvery = time.Minute
	notifyTime  = 10 * time.Second
	notifyQueue = 16
)

func newNotifier(cfg *Config, score *oomScore) *notifier {
	if cfg.Notify == "" {
		return nil
	}
	n := &notifier{cfg: cfg, score: score, queue: make(chan []string, notifyQueue), last: map[string]time.Duration{},
		suppressed: map[string]int{}, done: make(chan struct{})}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(n.done)
		for environ := range n.queue {
			n.run(environ)
		}
	}()
	return n
}

// close waits for what was sent, and kills a program that hangs: nothing of it is
// left behind.
func (n *notifier) close() {
	if n == nil {
		return
	}
	close(n.queue)
	time.AfterFunc(notifyTime, n.cancel)
	<-n.done
	n.cancel()
}

// send has the program run for an event, some time soon.
func (n *notifier) send(event string, at time.Duration, attrs []slog.Attr) {
	if last, sent := n.last[event]; sent && at-last < notifyEvery {
		n.suppressed[event]++
		return
	}
	select {
	case n.queue <- notifyEnviron(event, n.suppressed[event], attrs):
		n.last[event], n.suppressed[event] = at, 0
	default:
		n.suppressed[event]++ // those before it hang
	}
}

// notifyEnviron has the event and all its fields: soft_kb is GRACE_SOFT_KB.
func notifyEnviron(event string, suppressed int, attrs []slog.Attr) []string {
	environ := []string{"GRACE_EVENT=" + event, fmt.Sprintf("GRACE_SUPPRESSED=%d", suppressed)}
	for _, a := range attrs {
		environ = append(environ, "GRACE_"+strings.ToUpper(a.Key)+"="+strings.ReplaceAll(a.Value.String(), "\x00", "?"))
	}
	return environ
}

// run runs the program in a group of its own, without the mark of pgexec: what it
// leaves behind is not the service's.
func (n *notifier) run(environ []string) {
	ctx, cancel := context.WithTimeout(n.ctx, notifyTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.cfg.Notify)
	cmd.Env = append(proc.WithoutMark(os.Environ()), environ...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	err := n.score.start(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("killed after %v", notifyTime)
	}
	if err != nil {
		n.cfg.Messages.Warn("--notify %s: %v", n.cfg.Notify, err)
	}
}
