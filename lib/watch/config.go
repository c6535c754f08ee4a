package watch

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os/user"
	"strconv"
	"time"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

// Config is all that the loop knows of its options; cmd/gracewatch fills it.
type Config struct {
	Target service.Target
	Prog   []string // {} stands for the identity; empty: Run returns when it is time
	File   string   // where Prog was found

	Soft, Hard  units.Size
	Grace       time.Duration
	Interval    time.Duration // between checks; 0: only on command
	Retry       time.Duration // wait after a restart that was postponed or failed
	MaxAge      time.Duration // 0: none
	ProgTimeout time.Duration // 0: none

	Measure string // rss, pss, uss, anon, rss+swap
	Scope   proc.Scope
	Match   string // each process of the tree that matches, instead of Scope; empty: none

	Legacy  bool // once over the soft limit, the restart can no longer be cancelled
	InPlace bool // prog shrinks the process, and does not end it
	Once    bool // one check
	DryRun  bool
	NoLock  bool

	Control    string        // a FIFO for commands, beside the one of a service; empty: none
	ControlGID int           // the group that may write it; -1: none
	State      string        // the state file; empty: that of the service, if the target is one
	WaitLock   time.Duration // how long to wait for the lock of the state file
	History    string        // the history file; empty: that of the service, if the target is one
	NoHistory  bool
	Notify     string // a program that is run for events; empty: none

	Log      *slog.Logger // events
	Messages Messages     // all else
}

// Messages is where messages go that are no events.
type Messages interface {
	Error(format string, args ...any)
	Warn(format string, args ...any)
	Note(format string, args ...any) // level INFO
	Info(format string, args ...any) // level INFO, but only with -v
}

// Check refuses options that make no sense together. Its errors name them as
// gracewatch does.
func (c *Config) Check() error {
	switch {
	case c.ControlGID >= 0 && c.Control == "":
		return errors.New("--control-group: needs --control FIFO, which the group may write")
	case c.NoHistory && c.History != "":
		return errors.New("--no-history cannot be combined with --history")
	case c.Once && c.State == "" && !c.Target.IsDirectory():
		return errors.New("--once: needs --state FILE, where the grace timer is kept between two checks")
	case c.Once && c.Control != "":
		return errors.New("--once cannot be combined with --control")
	case c.InPlace && len(c.Prog) == 0:
		return errors.New("--in-place: needs a program")
	case c.Interval == 0 && c.Control == "" && !c.Once:
		return errors.New(`--interval: "0" (only on command) needs --control FIFO`)
	case c.Interval > 0 && c.Interval < time.Millisecond, c.Interval == grace.Never:
		return fmt.Errorf("--interval: invalid duration %q (want 3 or 500ms, at least 1ms)", units.Duration(c.Interval))
	case c.Retry < 100*time.Millisecond:
		return fmt.Errorf("--retry: invalid duration %q (want 60, at least 100ms)", units.Duration(c.Retry))
	}
	return nil
}

// warn warns of limits that do not fit together.
func (c *Config) warn() {
	const machine = 1 << 40 // any size: two shares are compared
	if c.Soft.IsShare() == c.Hard.IsShare() && !c.Hard.IsZero() && c.Soft.KB(machine) > c.Hard.KB(machine) {
		c.Messages.Warn("--soft %v is above --hard %v: it has no effect", c.Soft, c.Hard)
	}
}

// Measures are the sizes that can be held against the limits, by their names.
var Measures = map[string]proc.Field{"rss": proc.RSS, "pss": proc.PSS, "uss": proc.USS, "anon": proc.Anon, "rss+swap": proc.RSS | proc.Swap}

// SetMeasure reads the name of a measure.
func (c *Config) SetMeasure(text string) error {
	if Measures[text] == 0 {
		return fmt.Errorf("invalid measure %q (want rss, pss, uss, anon or rss+swap)", text)
	}
	c.Measure = text
	return nil
}

// SetScope reads the name of a scope.
func (c *Config) SetScope(text string) (err error) {
	c.Scope, err = proc.ParseScope(text, proc.MemoryScopes)
	return err
}

// SetMatch reads a glob.
func (c *Config) SetMatch(glob string) error {
	c.Match = glob
	return proc.CheckGlob(glob)
}

// SetMaxAge reads an age; inf is none.
func (c *Config) SetMaxAge(text string) error {
	age, err := units.ParseDuration(text)
	switch {
	case err != nil:
		return err
	case age == 0:
		return fmt.Errorf("invalid age %q (want 6h or 86400)", text)
	case age < units.Never:
		c.MaxAge = age.Std()
	}
	return nil
}

// SetControlGroup reads the name of a group, or else its number, as chown does.
func (c *Config) SetControlGroup(name string) error {
	if g, err := user.LookupGroup(name); err == nil {
		name = g.Gid
	}
	gid, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return fmt.Errorf("invalid group %q (want a name of /etc/group or a number)", name)
	}
	c.ControlGID = int(gid)
	return nil
}

// limited tells whether there is anything to watch for.
func (c *Config) limited() bool { return !c.Soft.IsZero() || !c.Hard.IsZero() || c.MaxAge > 0 }

// hasSeveral tells whether the scope has instances that are restarted one by one.
func (c *Config) hasSeveral() bool {
	return c.Match != "" || c.Scope == proc.ScopeChildren || c.Scope == proc.ScopeSidekiq
}

// hasJobHook tells whether a job hook asks for checks, so that those of the clock
// matter only as long as it is silent.
func (c *Config) hasJobHook() bool { return c.Legacy && c.Control != "" && c.Interval > 0 }

// scopeName is the scope in the snapshot.
func (c *Config) scopeName() string {
	if c.Match != "" {
		return "match"
	}
	return c.Scope.String()
}

// limits are those of a process that has that much memory, in KB.
func (c *Config) limits(id proc.ID, available int64) grace.Limits {
	l := grace.Limits{Grace: c.Grace, Retry: c.Retry, Legacy: c.Legacy, Soft: c.Soft.KB(available), Hard: c.Hard.KB(available), Recheck: max(c.Interval, hardEvery)}
	if c.MaxAge > 0 {
		l.MaxAgeAt = grace.Later(id.StartTime(), c.MaxAge+spread(id, c.MaxAge/10))
	}
	return l
}

// hardEvery is how soon the size is checked again, at least, at a hard limit that
// is too low.
const hardEvery = 200 * time.Millisecond

// hasShares tells whether the limits depend on the memory there is.
func (c *Config) hasShares() bool { return c.Soft.IsShare() || c.Hard.IsShare() }

// spread is a part of most that differs from process to process and stays the
// same for each, so that those that started together do not restart together.
func spread(id proc.ID, most time.Duration) time.Duration {
	h := fnv.New64a()
	fmt.Fprint(h, id)
	return time.Duration(h.Sum64() % uint64(most+1))
}
