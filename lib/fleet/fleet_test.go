package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// All are there in the order of their identities, more than are asked about at once, the dead too.
func TestManyInstances(t *testing.T) {
	s := startRedis(t)
	const n = 2*batch + 1
	pipe := s.redis.Pipeline()
	for i := range n {
		id := fmt.Sprintf("host:%d:%012x", 1_000_000+i, i)
		pipe.SAdd(t.Context(), "processes", id)
		if i%2 == 0 {
			pipe.HSet(t.Context(), id, "info", `{"queues":["default"]}`, "beat", time.Now().Unix(), "rss", i+1)
			pipe.Expire(t.Context(), id, time.Minute)
			pipe.HSet(t.Context(), id+":work", "t", `{"queue":"default","run_at":1}`)
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := s.fleet()
	all, err := f.All()
	if err != nil || len(all) != n {
		t.Fatal(len(all), err)
	}
	var ids []string
	for i, in := range all {
		if want := int64((i + 1) * (1 - i%2)); in.RSS != want || (in.State() == Dead) != (i%2 == 1) {
			t.Fatalf("%d: %+v", i, in)
		}
		ids = append(ids, in.Identity)
	}
	if !slices.IsSorted(ids) {
		t.Error("not in order")
	}
	if jobs, err := f.Jobs(ids...); err != nil || len(jobs) != batch+1 {
		t.Error(len(jobs), err)
	}
}
