package fleet

import (
	"fmt"
	"slices"
	"strings"
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

func TestJobs(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	ids := s.beats(3)
	note := func(class string, ago int64) string {
		return fmt.Sprintf(`{"queue":"default","payload":"{\"class\":\"%s\",\"jid\":\"%s\"}","run_at":%d}`, class, strings.ToLower(class), time.Now().Unix()-ago)
	}
	s.do("HSET", ids[0]+":workers", "a", note("Six", 2000))
	s.do("HSET", ids[1]+":work", "b", note("Seven", 3000), "a", note("Short", 0))
	s.do("SET", ids[2]+":work", "no hash")
	s.do("HSET", ids[2]+":workers", "a", "\x00")
	jobs, err := f.Jobs(ids...)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, job := range jobs {
		got = append(got, fmt.Sprint(job.Identity, " ", job.Thread, " ", job.JID, " ", job.Class, " ", job.Running >= 1000*time.Second))
	}
	want := []string{ids[1] + " b seven Seven true", ids[0] + " a six Six true", ids[1] + " a short Short false", ids[2] + " a   false"}
	slices.Sort(got[2:]) // a clock in whole seconds
	slices.Sort(want[2:])
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}
