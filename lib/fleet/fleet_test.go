package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"gracekit/lib/proc"
)

// All are there in the order of their identities, more than are asked about at once, the dead too.
func TestManyInstances(t *testing.T) {
	s := startRedis(t)
	const n = 2*batch + 1
	pipe := s.redis.Pipeline()
	for i := range n {
		id := fmt.Sprintf("host:%d:%012x", 1_000_000+i, i)
		pipe.SAdd(context.Background(), "processes", id)
		if i%2 == 0 {
			pipe.HSet(context.Background(), id, "info", `{"queues":["default"]}`, "beat", time.Now().Unix(), "rss", i+1)
			pipe.Expire(context.Background(), id, time.Minute)
			pipe.HSet(context.Background(), id+":work", "t", `{"queue":"default","run_at":1}`)
		}
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
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
	ids := s.beats(3, everywhere)
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

// of is a process, and the instances that have its hostname and pid.
func of(t *testing.T) (p *proc.Process, name string) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	t.Setenv("DYNO", "")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return p, fmt.Sprintf("%s:%d:", host, cmd.Process.Pid)
}

func startedAt(at time.Time) []any {
	return []any{"info", fmt.Sprintf(`{"queues":["default"],"started_at":%f}`, float64(at.UnixMicro())/1e6)}
}

func TestInstanceOfAProcess(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	p, name := of(t)
	wants := func(want string, is error) {
		t.Helper()
		got, err := f.Of(p)
		if got != want || !errors.Is(err, is) {
			t.Errorf("%q, %v; want %q, %v", got, err, want, is)
		}
	}
	wants("", ErrAbsent) // it boots
	s.beat(name+"00000000000a", everywhere, startedAt(time.Now().Add(-time.Hour))...)
	s.beat("other"+name+"00000000000b", everywhere, startedAt(time.Now())...)
	s.beat(name+"nononce", everywhere, startedAt(time.Now())...)
	wants("", ErrAbsent) // the one before it, that had its pid, is not it
	s.beat(name+"00000000000c", everywhere, startedAt(time.Now())...)
	wants(name+"00000000000c", nil)
	s.beat(name+"00000000000d", everywhere, startedAt(time.Now())...)
	wants("", ErrAmbiguous) // two hosts with one hostname
	s.do("DEL", name+"00000000000d")
	wants(name+"00000000000c", nil)
	s.do("HSET", name+"00000000000c", "beat", "1000000200")
	wants("", ErrDead)
}

func TestDynoIsTheHost(t *testing.T) {
	s := startRedis(t)
	p, name := of(t)
	t.Setenv("DYNO", "worker.1")
	_, pid, _ := strings.Cut(strings.TrimSuffix(name, ":"), ":")
	id := "worker.1:" + pid + ":00000000000a"
	s.beat(id, everywhere, startedAt(time.Now())...)
	if got, err := s.fleet().Of(p); got != id || err != nil {
		t.Error(got, err)
	}
}
