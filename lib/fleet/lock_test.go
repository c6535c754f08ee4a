package fleet

import (
	"testing"
	"time"

	"gracekit/test/harness"
)

func TestLock(t *testing.T) {
	s := startRedis(t)
	f, other := s.fleet(), s.fleet()
	soon := func() time.Time { return time.Now().Add(harness.Patience) }
	l, held, err := f.Lock("cron", "web-1, pid 7", time.Hour)
	if l == nil || held != "" || err != nil {
		t.Fatal(held, err)
	}
	if second, held, err := other.Lock("cron", "web-2, pid 8", time.Hour); second != nil || held != "web-1, pid 7" || err != nil {
		t.Error(second, held, err)
	}
	if another, _, err := other.Lock("another", "web-2, pid 8", time.Hour); another == nil || err != nil {
		t.Error(err)
	}
	s.do("PEXPIRE", "gracekit:lock:cron", 60_000)
	if held, err := l.Renew(soon()); !held || err != nil || s.do("PTTL", "gracekit:lock:cron").(int64) <= 60_000 {
		t.Error("not renewed:", held, err)
	}
	if err := l.Unlock(); err != nil || s.exists("gracekit:lock:cron") {
		t.Error(err)
	}
	next, _, err := other.Lock("cron", "web-2, pid 8", time.Hour)
	if next == nil || err != nil {
		t.Fatal(err)
	}
	if held, err := l.Renew(soon()); held || err != nil {
		t.Error("the lock of another is renewed:", err)
	}
	if err := l.Unlock(); err != nil || !s.exists("gracekit:lock:cron") {
		t.Error("the lock of another is released:", err)
	}
	s.do("PEXPIRE", "gracekit:lock:cron", 50)
	s.Eventually("the lock expires", func() bool {
		l, _, err := f.Lock("cron", "web-1, pid 7", time.Hour)
		return l != nil && err == nil
	})
	s.do("SET", "gracekit:lock:cron", "") // not ours
	if l, held, err := f.Lock("cron", "web-1, pid 7", time.Hour); l != nil || held != "unknown" || err != nil {
		t.Error(l, held, err)
	}
	s.do("DEL", "gracekit:lock:cron")
	s.do("LPUSH", "gracekit:lock:cron", "x")
	_, _, err = f.Lock("cron", "web-1, pid 7", time.Hour)
	noAnswer(t, err, "WRONGTYPE")
}
