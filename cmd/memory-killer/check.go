package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cgroup"
	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/settings"
	"gracekit/lib/sidekiq"
	"gracekit/lib/units"
)

// checker looks for what is wrong with a setup. Each warning says what to do.
type checker struct {
	cmd      *cli.Command
	values   *settings.Values
	findings int
}

// runCheck prints every setting with its value and where it came from, and then
// what is wrong, with the target if there is one.
func runCheck(cmd *cli.Command, word string) error {
	k, err := newKiller(cmd, true)
	if err != nil {
		return cli.Misuse(err)
	}
	var target service.Target
	if word != "" {
		if target, err = service.Parse(word); err != nil {
			return cli.Misuse(err)
		}
	}
	if err := cmd.Write(report(k.values)); err != nil {
		return err
	}
	if word != "" {
		if _, err := k.control(target.Service()); err != nil { // memory-killer -t refuses it, too
			return cli.Misuse(err)
		}
	}
	c := &checker{cmd: cmd, values: k.values}
	c.limits()
	c.self()
	if word != "" {
		if err := c.target(target); err != nil {
			return err
		}
	}
	c.redis()
	if c.findings > 0 {
		return cli.Exit(cli.No)
	}
	return cmd.Write("no warnings\n")
}

// report is a line for each setting: name, value, source.
func report(v *settings.Values) string {
	var out strings.Builder
	for _, s := range settings.Table {
		source := v.Source(s.Name)
		text, from := source.Text, "default"
		switch {
		case source.Variable == s.Name:
			from = "environment"
		case source.Variable != "":
			from = source.Variable
		}
		if s.Name == "REDIS_URL" && text != "" {
			text = "(set)" // it may have a password in it
		}
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(&out, "%-42s %-16s %s\n", s.Name, cli.Printable(text), from)
	}
	return out.String()
}

func (c *checker) warn(format string, args ...any) {
	c.findings++
	c.cmd.Warn(format, args...)
}

// limits checks those that do not depend on a process.
func (c *checker) limits() {
	v := c.values
	if v.Soft.IsZero() && v.Hard.IsZero() && v.MaxAge == 0 {
		c.warn("no limit is set in this environment, so nothing is watched: set SIDEKIQ_MEMORY_KILLER_MAX_RSS, for example to 2G")
	}
	available, err := cgroup.Available(os.Getpid())
	if err != nil {
		return
	}
	soft, hard := v.Soft.KB(available), v.Hard.KB(available)
	if hard > 0 && soft > 0 && hard <= soft {
		c.warn("SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS (%d KB) is at or under the soft limit (%d KB), so the grace time has no effect: raise it, or unset one of the two", hard, soft)
	}
}

// self checks what this process, and so the watcher, may do.
func (c *checker) self() {
	p, err := proc.Open(os.Getpid())
	if err != nil {
		c.warn("nothing can be watched: %v", err)
		return
	}
	p.Close()
}

// target checks the worker itself.
func (c *checker) target(t service.Target) error {
	p, err := t.Open()
	switch {
	case errors.Is(err, proc.ErrGone):
		c.warn("%v: start it, and check again", err)
		return nil
	case err != nil:
		c.warn("%v: correct that, nothing is watched until then", err)
		return nil
	}
	defer p.Close()
	workers := []*proc.Process{p}
	ids, err := sidekiq.NewLister().List(p)
	wrapped := len(ids) > 0 && ids[0] != p.ID
	if p.ID.PID != 1 || !wrapped { // an init, with Sidekiq below it, is not what is restarted
		c.leader(p)
	}
	switch {
	case err != nil:
		c.warn("cannot list the Sidekiqs below %v: %v: check as root, or as the user of the process", p.ID, err)
	case len(ids) == 0 && c.values.Scope == "sidekiq" && c.values.Match == "":
		c.warn("no Sidekiq is at or below %v, so the process itself is watched: check again if it is booting, or set MEMORY_KILLER_MATCH for other workers", p.ID)
	case wrapped:
		c.cmd.Info("%v is a wrapper: the Sidekiqs below it are watched", p.ID)
	}
	if len(ids) > 0 {
		workers = nil
		for _, id := range ids {
			if w, err := proc.OpenID(id); err == nil {
				defer w.Close()
				workers = append(workers, w)
			}
		}
	}
	for _, w := range workers {
		c.worker(w)
	}
	return nil
}

// leader checks whether the target can be signalled, and its group with it.
func (c *checker) leader(p *proc.Process) {
	if p.ID.PID == 1 {
		c.warn("the target is pid 1, which is never signalled: start it below an init (docker run --init, tini)")
	}
	if s, err := p.Stat(); err == nil && s.PGID != s.PID {
		c.warn("%v leads no process group, so what its jobs start cannot be ended with it: start it with pgexec -s or chpst -P", p.ID)
	}
}

// worker checks one process that is watched.
func (c *checker) worker(w *proc.Process) {
	usage, err := w.Memory(proc.RSS)
	if err != nil {
		c.warn("cannot read the size of %v: %v: check as root, or as the user of the process", w.ID, err)
		return
	}
	available, err := cgroup.Available(w.ID.PID)
	if err != nil {
		c.warn("cannot determine the memory available to %v: %v: write limits as sizes, not as shares", w.ID, err)
		return
	}
	for _, l := range []struct {
		name  string
		limit units.Size
	}{{"SIDEKIQ_MEMORY_KILLER_MAX_RSS", c.values.Soft}, {"SIDEKIQ_MEMORY_KILLER_HARD_LIMIT_RSS", c.values.Hard}} {
		kb := l.limit.KB(available)
		switch {
		case kb == 0:
		case kb >= available:
			c.warn("%s (%d KB) is not below the memory available to %v (%d KB), so the kernel kills it first: lower the limit, or write it as a share, for example 80%%", l.name, kb, w.ID, available)
		case kb <= usage.RSS:
			c.warn("%s (%d KB) is below the size that %v has now (%d KB), so it would be restarted soon: raise the limit", l.name, kb, w.ID, usage.RSS)
		}
	}
	s, err := w.Status()
	if err == nil && s.UID == 0 {
		c.warn("%v runs as root: run the app as a user of its own (SIDEKIQ_USER)", w.ID)
	}
	if err == nil && os.Geteuid() == 0 && s.UID != 0 && !hasPtrace() {
		c.warn("this process has no CAP_SYS_PTRACE, so pss, uss and the hostname of %v cannot be read: measure rss, or use docker run --cap-add SYS_PTRACE", w.ID)
	}
	if own, found := ownTimeout(w); found && c.values.Timeout > 0 && c.values.Timeout < own {
		c.warn("SIDEKIQ_TIMEOUT (%v) is shorter than the -t of %v (%v), so jobs would be killed that Sidekiq may still finish: set it to %v", c.values.Timeout, w.ID, own, own)
	}
}

// hasPtrace reports whether CAP_SYS_PTRACE is in effect (capabilities(7)).
func hasPtrace() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}

// ownTimeout is the -t or --timeout of a worker's arguments, while its title has
// not overwritten them.
func ownTimeout(w *proc.Process) (units.Duration, bool) {
	text, err := w.ReadFile("cmdline")
	if err != nil {
		return 0, false
	}
	words := strings.Split(string(text), "\x00")
	for i, word := range words {
		value, ok := strings.CutPrefix(word, "--timeout=")
		if !ok && (word == "-t" || word == "--timeout") && i+1 < len(words) {
			value, ok = words[i+1], true
		}
		if seconds, err := strconv.Atoi(value); ok && err == nil {
			return units.Duration(time.Duration(seconds) * time.Second), true
		}
	}
	return 0, false
}

// redis checks that Redis answers, and that enough instances are there now.
func (c *checker) redis() {
	v := c.values
	if v.RedisURL == "" && v.MinPeers == 0 && len(v.LongWorkers) == 0 && v.PoisonAfter == 0 {
		return
	}
	file, err := cli.Find("sidekiq-fleet")
	if err != nil {
		c.warn("restarts would fail: %v: install sidekiq-fleet, which asks Redis", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ps := exec.CommandContext(ctx, file, "--timeout", "5s", "ps", "-j")
	var stderr strings.Builder
	ps.Stderr = &stderr
	out, err := ps.Output()
	if err != nil {
		c.warn("cannot ask Redis, so restarts would be postponed: %s: correct REDIS_URL, or start Redis", strings.TrimSpace(strings.TrimPrefix(stderr.String(), "sidekiq-fleet: fatal: ")))
		return
	}
	running := 0
	for line := range strings.Lines(string(out)) {
		var instance struct {
			State string `json:"state"`
		}
		if json.Unmarshal([]byte(line), &instance) == nil && instance.State == "running" {
			running++
		}
	}
	if v.MinPeers > 0 && running-1 < v.MinPeers {
		c.warn("SIDEKIQ_MEMORY_KILLER_MIN_PEERS is %d, but only %d instances are running, so no restart would happen now: start more of them, or lower it", v.MinPeers, running)
	}
}
