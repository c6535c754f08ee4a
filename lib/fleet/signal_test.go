package fleet

import (
	"context"
	"slices"
	"testing"
)

// The signals of Sidekiq's own API: a list that is read from its right end, and lives for a minute.
func TestSignals(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	id := s.beats(1)[0]
	for _, name := range []string{"TSTP", "TERM"} {
		if err := f.Signal(id, name); err != nil {
			t.Fatal(err)
		}
	}
	key := id + "-signals"
	if ttl := s.do("TTL", key).(int64); ttl < 1 || ttl > 60 {
		t.Errorf("it lives %d s", ttl)
	}
	s.do("PERSIST", key)
	if err := f.RenewSignals(id); err != nil || s.do("TTL", key).(int64) < 1 {
		t.Errorf("kept, it lives %d s: %v", s.do("TTL", key), err)
	}
	for _, want := range []string{"TSTP", "TERM"} {
		if got := s.do("RPOP", key); got != want {
			t.Errorf("it takes %v, want %s", got, want)
		}
	}
	if back, err := f.Withdraw(id, "TERM"); back || err != nil {
		t.Error("taken back though it was taken:", err)
	}
	f.Signal(id, "TSTP")
	f.Signal(id, "TERM")
	f.Signal(id, "TSTP")
	if back, err := f.Withdraw(id, "TSTP"); !back || err != nil {
		t.Error(err)
	}
	if left := s.redis.LRange(context.Background(), key, 0, -1).Val(); !slices.Equal(left, []string{"TERM"}) {
		t.Error(left)
	}
}
