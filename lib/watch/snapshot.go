// Package watch is the loop of gracewatch: it follows a target, checks how
// large its instances are, and runs a program when one of them must go.
package watch

import (
	"time"

	"gracekit/lib/grace"
)

// SnapshotVersion is that of the format. It changes when a field changes its
// meaning; others are ignored.
const SnapshotVersion = 1

// Snapshot is the state file, in JSON: enough for the next gracewatch to go on,
// and for gracestat to say what is going on. Times are of proc.Now
// (CLOCK_BOOTTIME, ns since boot) unless they say otherwise. Readers ignore
// fields that they do not know.
type Snapshot struct {
	Version   int        `json:"version"`             // SnapshotVersion
	Boot      string     `json:"boot"`                // /proc/sys/kernel/random/boot_id: times and identities mean nothing in another boot
	Target    string     `json:"target"`              // as it was spelled
	Directory *Directory `json:"directory,omitempty"` // of the service; nil if the target is none
	Watcher   string     `json:"watcher"`             // PID:START of the gracewatch that wrote this

	Scope    string        `json:"scope"`   // process, group, tree, children, sidekiq, match, cgroup
	Match    string        `json:"match"`   // the glob of --match
	Measure  string        `json:"measure"` // rss, pss, uss, anon, rss+swap
	Soft     string        `json:"soft"`    // as it was given: 2000000, 80%; 0: none
	Hard     string        `json:"hard"`
	Grace    time.Duration `json:"grace"`    // ns
	Interval time.Duration `json:"interval"` // ns; 0: only on command
	Retry    time.Duration `json:"retry"`    // ns
	Legacy   bool          `json:"legacy"`
	Control  string        `json:"control"` // path of the FIFO; empty: none

	Paused    bool               `json:"paused"`
	Backoff   grace.Backoff      `json:"backoff"`
	Instances []InstanceSnapshot `json:"instances"`
	Restarts  []Restart          `json:"restarts"` // the last ten, oldest first
	Counts    Counts             `json:"counts"`
}

// Directory tells one service directory from another, however it is spelled.
type Directory struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Phase is what an instance is in.
type Phase string

const (
	PhaseOK         Phase = "ok"
	PhaseOver       Phase = "over"       // over the soft limit, the grace timer runs
	PhaseRestarting Phase = "restarting" // prog runs
	PhasePostponed  Phase = "postponed"  // not now; Why says so
	PhaseFailed     Phase = "failed"     // the restart failed, and is begun again after the retry time
	PhaseTooLow     Phase = "too-low"    // the limit is below the footprint, restarts back off
)

// InstanceSnapshot is one process that is watched.
type InstanceSnapshot struct {
	ID           string          `json:"id"` // PID:START
	Phase        Phase           `json:"phase"`
	Why          string          `json:"why,omitempty"` // of postponed, failed and too-low: the reason as it was logged
	State        grace.State     `json:"state"`
	KB           int64           `json:"kb"`                     // at the last check before this was written
	PeakKB       int64           `json:"peak_kb"`                // the largest that was seen
	SoftKB       int64           `json:"soft_kb"`                // the limit as worked out for this process; 0: none
	HardKB       int64           `json:"hard_kb"`                //
	FootprintKB  int64           `json:"footprint_kb,omitempty"` // right after its boot; 0: not known
	Footprint    grace.Footprint `json:"footprint"`              // how that is known
	RestartBegan time.Duration   `json:"restart_began,omitempty"`
	RestartedAt  time.Duration   `json:"restarted_at,omitempty"` // in place, if it was: its age counts from there
	Prog         string          `json:"prog,omitempty"`         // PID:START of the prog that runs
	TooLow       []grace.Reason  `json:"too_low,omitempty"`      // the limits of which limit-too-low was logged: soft, hard
	Boot         *BootNotes      `json:"boot_notes,omitempty"`
}

// BootNotes are what a worker showed of its argv and environment while it
// booted, before its title overwrote them. Only the settings that
// graceful-restart reads are kept.
type BootNotes struct {
	Timeout string            `json:"timeout,omitempty"` // the value of -t or --timeout in its argv
	Environ map[string]string `json:"environ,omitempty"` // SHUTDOWN_WAIT, SIDEKIQ_TIMEOUT, QUIET_SIGNAL, STOP_SIGNAL and their MEMORY_KILLER forms
}

// Restart is one that came to an end.
type Restart struct {
	ID      string        `json:"id"`      // who was restarted, PID:START
	At      time.Time     `json:"at"`      // wall clock, when it began
	Reason  grace.Reason  `json:"reason"`  // soft, hard, legacy, age, control
	Outcome Outcome       `json:"outcome"` // done, postponed, failed
	KB      int64         `json:"kb"`      // when it began
	Took    time.Duration `json:"took"`    // ns, from its begin to the process's end
}

// Counts are totals since the state file was begun.
type Counts struct {
	Done      map[grace.Reason]int64 `json:"done,omitempty"` // restarts by reason
	Postponed int64                  `json:"postponed"`
	Failed    int64                  `json:"failed"`
}
