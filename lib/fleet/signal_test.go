package fleet

import (
	"slices"
	"testing"
)

// A signal lives for a minute, as by Sidekiq's own API, and can be taken back alone.
func TestSignals(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	id := s.beats(1)[0]
	key := id + "-signals"
	for _, name := range []string{"TSTP", "TERM", "TSTP"} {
		s.Check(f.Signal(id, name))
	}
	if ttl := s.do("TTL", key).(int64); ttl < 1 || ttl > 60 {
		t.Errorf("it lives %d s", ttl)
	}
	if back, err := f.Withdraw(id, "TSTP"); !back || err != nil {
		t.Error(err)
	}
	if left := s.redis.LRange(t.Context(), key, 0, -1).Val(); !slices.Equal(left, []string{"TERM"}) {
		t.Error(left)
	}
	if back, err := f.Withdraw(id, "TSTP"); back || err != nil {
		t.Error("taken back though it was taken:", err)
	}
}
