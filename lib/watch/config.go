package watch

import (
	"fmt"
	"hash/fnv"
	"log/slog"
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

	Measure     proc.Field
	MeasureName string // rss, pss, uss, anon, rss+swap
	Scope       proc.Scope
	Match       string // each process of the tree that matches, instead of Scope; empty: none

	Legacy  bool // once over the soft limit, the restart can no longer be cancelled
	InPlace bool // prog shrinks the process, and does not end it
	Once    bool // one check
	DryRun  bool
	NoLock  bool

	Control    string        // a FIFO for commands, beside the one of a service; empty: none
	ControlGID int           // the group that may write it; -1: none
	State      string        // the state file; empty: that of the service, if the target is one
	WaitLock   time.Duration // how long another gracewatch may hold the lock of the state file
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

// Limited tells whether there is anything to watch for.
func (c *Config) Limited() bool { return !c.Soft.IsZero() || !c.Hard.IsZero() || c.MaxAge > 0 }

// several tells whether the scope has instances that are restarted one by one.
func (c *Config) several() bool {
	return c.Match != "" || c.Scope == proc.ScopeChildren || c.Scope == proc.ScopeSidekiq
}

// hooked tells whether a job hook asks for checks, so that those of the clock
// matter only as long as it is silent.
func (c *Config) hooked() bool { return c.Legacy && c.Control != "" && c.Interval > 0 }

// scopeName is the scope in the snapshot.
func (c *Config) scopeName() string {
	if c.Match != "" {
		return "match"
	}
	return c.Scope.String()
}

// limits are those of a process that has that much memory, in KB.
func (c *Config) limits(id proc.ID, available int64) grace.Limits {
	l := grace.Limits{Grace: c.Grace, Retry: c.Retry, Legacy: c.Legacy, Soft: c.Soft.KB(available), Hard: c.Hard.KB(available)}
	if c.MaxAge > 0 {
		l.MaxAgeAt = later(id.StartTime(), c.MaxAge+spread(id, c.MaxAge/10))
	}
	return l
}

// shares tells whether the limits depend on the memory there is.
func (c *Config) shares() bool { return c.Soft.IsShare() || c.Hard.IsShare() }

// spread is a part of most that differs from process to process and stays the
// same for each, so that those that started together do not restart together.
func spread(id proc.ID, most time.Duration) time.Duration {
	h := fnv.New64a()
	fmt.Fprint(h, id)
	return time.Duration(h.Sum64() % uint64(most+1))
}
