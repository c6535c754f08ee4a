package fleet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
)

// All are there in the order of their identities, more than are asked about at once, the dead too.
func TestManyInstances(t *testing.T) {
	s := startRedis(t)
	const n = 2*batch + 1
	var want []string
	_, err := s.redis.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range n {
			id := fmt.Sprintf("host:%d:%012x", 1_000_000+i, i)
			want = append(want, id)
			if p.SAdd(t.Context(), "processes", id); i%2 == 0 {
				writeHeartbeat(p, id, everywhere)
				p.HSet(t.Context(), id+":work", "t", `{"queue":"default","run_at":1}`)
			}
		}
		return nil
	})
	s.Check(err)
	f := s.fleet()
	all, err := f.All()
	s.Check(err)
	var got []string
	for i, in := range all {
		if (in.State() == Dead) != (i%2 == 1) {
			t.Fatalf("%d: %+v", i, in)
		}
		got = append(got, in.Identity)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d instances, want %d in their order", len(got), n)
	}
	if jobs, err := f.Jobs(got...); err != nil || len(jobs) != batch+1 {
		t.Error(len(jobs), err)
	}
}
