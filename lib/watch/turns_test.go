package watch

import (
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
)

// turnsOf is a watcher of a process, whose tree has the size that is given.
func turnsOf(t *testing.T, path, target string, kb int64) *turns {
	cfg := config(t, 100, 0)
	cfg.Target.Text, cfg.Messages = target, &journal{w: &fakeWorld{}}
	return &turns{cfg: &cfg, path: path, treeKB: func(process) int64 { return kb }}
}

func TestTheWatcherOfTheLargestTreeOfACgroupActs(t *testing.T) {
	path := t.TempDir() + "/cgroup"
	w := newWorld(t, constant(1))
	small, large := w.start(101, nil), w.start(102, nil)
	ofSmall, ofLarge := turnsOf(t, path, "small", 100), turnsOf(t, path, "large", 200)
	now := proc.Now()
	ofLarge.renew(large, now)
	if why := ofSmall.refusal(small, now); !strings.Contains(why, "the tree of large, in the same cgroup, is larger (200 KB)") {
		t.Errorf("small: %q", why)
	}
	if why := ofLarge.refusal(large, now); why != "" {
		t.Errorf("large: %q", why)
	}
	ofLarge.restarted(large, now)
	if why := ofSmall.refusal(small, now+59*time.Second); why != "another process of its cgroup was restarted just now" {
		t.Errorf("within the retry time: %q", why)
	}
	if why := ofSmall.refusal(small, now+61*time.Second); why != "" {
		t.Errorf("after the retry time: %q", why)
	}
	ofLarge.renew(large, now)
	if why := ofSmall.refusal(small, now+2*time.Minute); why != "" {
		t.Errorf("a watcher that has ended: %q", why)
	}
}
