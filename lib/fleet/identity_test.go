package fleet

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
)

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		text, host string
		pid        int
		ok         bool
	}{
		{"vm:10361:67a4f0f90879", "vm", 10361, true},
		{"fe80::1%eth0:7:0123456789ab", "fe80::1%eth0", 7, true},
		{"a:b c:7:0123456789ab", "a:b c", 7, true},
		{":7:0123456789ab", "", 0, false},
		{"vm:0:0123456789ab", "", 0, false},
		{"vm:99999999999999999999:0123456789ab", "", 0, false},
		{"vm:7:0123456789a", "", 0, false},
		{"vm:7:0123456789aB", "", 0, false},
		{"7:0123456789ab", "", 0, false},
		{"1234:567890123456", "", 0, false}, // PID:START
		{"::", "", 0, false},
	} {
		id, ok := ParseIdentity(c.text)
		if ok != c.ok || ok && (id != Identity{c.text, c.host, c.pid}) {
			t.Errorf("%q: %+v, %v; want %+v", c.text, id, ok, c)
		}
	}
}

// since is an instance that started so long after the process.
func since(identity string, after time.Duration) Instance {
	return Instance{Identity: identity, Started: start.Add(after), Known: true}
}

var start = time.Unix(1_800_000_000, 0)

// Pid and start time decide which instance a process is; the hostname only chooses among several.
func TestWhichInstanceAProcessIs(t *testing.T) {
	const mine, other, third = "a:7:00000000000a", "b:7:00000000000b", "a:7:00000000000c"
	self7 := self{pid: 7, host: "a", started: start, threads: []time.Time{start}}
	renamed := self7
	renamed.host = "x"
	unreadable := self7
	unreadable.host, unreadable.noHost = "", errors.New("permission denied")
	unnamedHere, unnamed := self7, renamed
	unnamedHere.threads = []time.Time{start, start.Add(time.Minute)}
	unnamed.threads = unnamedHere.threads
	dead := since(mine, time.Second)
	dead.SinceHeartbeat = time.Hour
	for name, c := range map[string]struct {
		self  self
		found []Instance
		want  string
		is    error
	}{
		"the only one":                             {self7, []Instance{since(mine, time.Second)}, mine, nil},
		"its clock is a little off":                {self7, []Instance{since(mine, -time.Second)}, mine, nil},
		"none":                                     {self7, nil, "", ErrAbsent},
		"one that had its pid before":              {self7, []Instance{since(mine, -time.Minute)}, "", ErrAbsent},
		"of two replicas the older":                {self7, []Instance{since(third, time.Hour), since(mine, time.Second)}, mine, nil},
		"of two replicas the younger":              {self7, []Instance{since(third, -1500*time.Millisecond), since(mine, 10*time.Millisecond)}, mine, nil},
		"and it was a little slow":                 {self7, []Instance{since(third, -1500*time.Millisecond), since(mine, time.Second)}, "", ErrAmbiguous},
		"of two hosts its own":                     {self7, []Instance{since(other, time.Second), since(mine, 10*time.Minute)}, mine, nil},
		"two that started together":                {self7, []Instance{since(third, time.Second), since(mine, time.Second)}, "", ErrAmbiguous},
		"only Ruby knows its hostname":             {renamed, []Instance{since(other, time.Second)}, other, nil},
		"it calls itself otherwise, and so others": {renamed, []Instance{since(other, time.Hour), since(mine, time.Second)}, mine, nil},
		"of two without names of threads":          {unnamedHere, []Instance{since(third, time.Hour), since(mine, time.Minute)}, mine, nil},
		"two of other names that started together": {renamed, []Instance{since(other, time.Second), since(mine, time.Second)}, "", ErrAmbiguous},
		"somebody else's pid, in another Redis":    {renamed, []Instance{since(other, time.Hour)}, "", ErrAbsent},
		"its hostname cannot be read":              {unreadable, []Instance{since(other, time.Second)}, other, nil},
		"nor decide":                               {unreadable, []Instance{since(other, time.Second), since(mine, time.Second)}, "", ErrAmbiguous},
		"no thread has a name, one is its own":     {unnamed, []Instance{since(other, time.Minute)}, other, nil},
		"no thread has a name, nor is it its own":  {unnamed, []Instance{since(other, time.Second)}, "", ErrAbsent},
		"it has no heartbeat any more":             {self7, []Instance{dead}, "", ErrDead},
	} {
		got, err := c.self.choose(c.found)
		if got != c.want || !errors.Is(err, c.is) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, c.want, c.is)
		}
		if name == "one that had its pid before" && !strings.Contains(err.Error(), "("+mine+" has its pid and hostname, but started 1m0s before it: is it of another host, or was the clock set?)") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, ErrAmbiguous) && c.self.noHost != nil && !strings.Contains(err.Error(), "CAP_SYS_PTRACE") {
			t.Errorf("%s: %v does not name the capability", name, err)
		}
	}
}

// resolves compares what a process is in Redis.
func (s *server) resolves(p *proc.Process, want string, is error) {
	s.Helper()
	if got, err := s.fleet().Resolve(p); got != want || !errors.Is(err, is) {
		s.Errorf("%q, %v; want %q, %v", got, err, want, is)
	}
}

// Of the instances in Redis with its pid a process is the one that started with it, if there is one alone.
func TestInstanceOfAProcess(t *testing.T) {
	s := startRedis(t)
	p, name := becomeSidekiq(t, "sidekiq.heartbe")
	now := time.Now()
	s.beat(name+"00000000000a", everywhere, "info", infoText(everywhere, now.Add(-time.Hour)))
	s.beat(name+"nononce", everywhere, "info", infoText(everywhere, now))
	s.resolves(p, "", ErrAbsent)
	s.beat(name+"00000000000c", everywhere, "info", infoText(everywhere, now))
	s.resolves(p, name+"00000000000c", nil)
	s.beat(name+"00000000000d", everywhere, "info", infoText(everywhere, now))
	s.resolves(p, "", ErrAmbiguous) // two hosts with one hostname

	t.Setenv("DYNO", "worker.1") // is the host
	id := fmt.Sprintf("worker.1:%d:00000000000a", p.ID.PID)
	s.beat(id, everywhere, "info", infoText(everywhere, now.Add(time.Hour)))
	s.resolves(p, id, nil)
}

// What the job hook noted decides, though hostname and start say something else; a note that somebody else could have
// written, or that is of another process, does not.
func TestNoteOfTheHookDecides(t *testing.T) {
	s := startRedis(t)
	p, name := becomeSidekiq(t, "heartbeat")
	file, note := notes(t, p.ID.PID)
	other, noted := name+"00000000000a", fmt.Sprintf("elsewhere:%d:00000000000b", p.ID.PID)
	s.beat(other, everywhere, "info", infoText(everywhere, time.Now()))
	s.beat(noted, everywhere)
	hourAgo := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		identity string
		change   func() error
		want     string
	}{
		{noted, func() error { return nil }, noted},
		{noted, func() error { return os.Remove(file) }, other},
		{noted, func() error { return os.Chmod(file, 0o666) }, other},
		{noted, func() error { return os.Chtimes(file, hourAgo, hourAgo) }, other}, // of a process that had its pid
		{"elsewhere:1:00000000000b", func() error { return nil }, other},
		{noted, func() error { return os.Chown(file, 65534, 65534) }, other},
		{noted, func() error { return errors.Join(os.Rename(file, file+".x"), os.Symlink(file+".x", file)) }, other},
	} {
		os.Remove(file)
		note(c.identity)
		if err := c.change(); errors.Is(err, os.ErrPermission) {
			continue // only root gives files away
		} else if err != nil {
			t.Fatal(err)
		}
		s.resolves(p, c.want, nil)
	}
}
