package watch

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cgroup"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// turns decide who acts, of several watchers that measure one cgroup: each sees
// the same size, and a restart of one target is enough. They share a file, with an
// entry for each, which a lock guards.
type turns struct {
	cfg    *Config
	path   string // of the file; empty: not known yet
	treeKB func(process) int64
	fault  fault
}

// turnsFile is what the file has, in JSON.
type turnsFile struct {
	Watchers  map[string]turnEntry `json:"watchers"`   // by the identity of the target
	NotBefore time.Duration        `json:"not_before"` // nobody acts before, as one has just been restarted
}

// turnEntry is one target.
type turnEntry struct {
	Target string        `json:"target"` // as it was spelled
	KB     int64         `json:"kb"`     // of its own tree
	At     time.Duration `json:"at"`     // of its last check
}

// turnsFolder is where the files are.
const turnsFolder = "/run/gracekit"

// newTurns are nil for a scope that is not shared.
func newTurns(cfg *Config) *turns {
	if cfg.Match != "" || cfg.Scope != proc.ScopeCgroup || cfg.DryRun {
		return nil
	}
	return &turns{cfg: cfg, treeKB: treeKB}
}

// renew notes how large the tree of the target is, and returns the whole file.
func (t *turns) renew(target process, at time.Duration) turnsFile {
	return t.update(target, func(f *turnsFile) {
		f.Watchers[target.ID().String()] = turnEntry{Target: t.cfg.Target.Text, KB: t.treeKB(target), At: at}
	})
}

// refusal is why another watcher acts, and not this one.
func (t *turns) refusal(target process, at time.Duration) string {
	f := t.renew(target, at)
	if at < f.NotBefore {
		return "another process of its cgroup was restarted just now"
	}
	own := f.Watchers[target.ID().String()]
	for id, other := range f.Watchers {
		fresh := at-other.At <= max(3*t.cfg.Interval, shareEvery)
		if fresh && (other.KB > own.KB || other.KB == own.KB && id > target.ID().String()) {
			return fmt.Sprintf("the tree of %s, in the same cgroup, is larger (%d KB)", other.Target, other.KB)
		}
	}
	return ""
}

// restarted has nobody act for the retry time.
func (t *turns) restarted(target process, at time.Duration) {
	t.update(target, func(f *turnsFile) {
		delete(f.Watchers, target.ID().String())
		f.NotBefore = grace.Later(at, t.cfg.Retry)
	})
}

// treeKB is the size of the tree of a process, in KB; 0 if it cannot be read.
func treeKB(target process) int64 {
	p := target.(*machineProcess)
	usage, err := p.host.scan.Usage(p.Process, proc.ScopeTree, proc.RSS)
	if err != nil {
		return 0
	}
	return usage.RSS
}

// update changes the file under its lock. A watcher that cannot acts alone.
func (t *turns) update(target process, change func(*turnsFile)) turnsFile {
	var content turnsFile
	f, err := t.open(target)
	if err == nil {
		defer f.Close()
		text, _ := io.ReadAll(io.LimitReader(f, 1<<16))
		json.Unmarshal(text, &content)
	}
	maps.DeleteFunc(content.Watchers, func(_ string, w turnEntry) bool { // others have ended, or are of another boot
		now := proc.Now()
		return now-w.At > time.Hour || w.At > now
	})
	if content.Watchers == nil {
		content.Watchers = map[string]turnEntry{}
	}
	change(&content)
	if err == nil {
		text, _ := json.Marshal(content)
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(text, 0)
		}
	}
	if t.fault.begins(err) {
		t.cfg.Messages.Warn("cannot take turns with other watchers of its cgroup: %v", err)
	}
	return content
}

// open opens the file of the target's cgroup and locks it.
func (t *turns) open(target process) (*os.File, error) {
	if t.path == "" {
		group, err := cgroup.Path(target.ID().PID)
		if err != nil {
			return nil, err
		}
		if err := os.Mkdir(turnsFolder, 0o755); err != nil && !os.IsExist(err) {
			return nil, err
		}
		h := fnv.New64a()
		h.Write([]byte(group))
		t.path = filepath.Join(turnsFolder, fmt.Sprintf("cgroup-%016x", h.Sum64()))
	}
	dir, name, err := service.OpenParent(t.path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.OpenFile(name, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
