package fleet

import (
	"testing"
	"time"

	"gracekit/test/harness"
)

func TestLock(t *testing.T) {
	s := startRedis(t)
	f, other := s.fleet(), s.fleet()
	const key = "gracekit:lock:cron"
	soon := time.Now().Add(harness.Patience)
	takes := func(f *Fleet, as, want string) *Lock {
		t.Helper()
		l, holder, err := f.Lock("cron", as, time.Hour)
		if holder != want || (l == nil) != (want != "") || err != nil {
			t.Errorf("%s: the lock is held by %q, want %q: %v", as, holder, want, err)
		}
		return l
	}
	l := takes(f, "web-1, pid 7", "")
	takes(other, "web-2, pid 8", "web-1, pid 7")
	if another, _, err := other.Lock("another", "web-2, pid 8", time.Hour); another == nil || err != nil {
		t.Error(err)
	}
	s.do("PEXPIRE", key, 60_000)
	if held, err := l.Renew(soon); !held || err != nil || s.do("PTTL", key).(int64) <= 60_000 {
		t.Error("not renewed:", held, err)
	}
	if err := l.Unlock(); err != nil || s.exists(key) {
		t.Error("not released:", err)
	}
	takes(other, "web-2, pid 8", "")
	if held, err := l.Renew(soon); held || err != nil {
		t.Error("the lock of another is renewed:", err)
	}
	if err := l.Unlock(); err != nil || !s.exists(key) {
		t.Error("the lock of another is released:", err)
	}
	s.do("PEXPIRE", key, 50)
	s.Eventually("the lock expires", func() bool { return !s.exists(key) })
	takes(f, "web-1, pid 7", "")
	s.do("SET", key, "") // not ours
	takes(f, "web-1, pid 7", "unknown")
	s.do("DEL", key)
	s.do("LPUSH", key, "x")
	_, _, err := f.Lock("cron", "web-1, pid 7", time.Hour)
	noAnswer(t, err, "WRONGTYPE")
}
