package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// startSidekiq starts a process that looks like a Sidekiq; name is what the identities with its hostname and pid begin with.
func startSidekiq(t *testing.T, threads ...string) (p *proc.Process, name string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "FLEET_TEST_THREADS="+strings.Join(threads, " "))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p, err = proc.Open(cmd.Process.Pid)
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

// TestMain is also the program that looks like a Sidekiq: it has a thread of each name.
func TestMain(m *testing.M) {
	names, ok := os.LookupEnv("FLEET_TEST_THREADS")
	if !ok {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // the main thread keeps its name
	for _, name := range strings.Fields(names) {
		named := make(chan error)
		var become func()
		become = func() {
			runtime.LockOSThread()
			if unix.Gettid() == os.Getpid() { // the main thread has the name of the process
				go become()
				select {}
			}
			named <- os.WriteFile("/proc/thread-self/comm", []byte(name), 0)
			select {}
		}
		go become()
		if err := <-named; err != nil {
			panic(err)
		}
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
}

func startedAt(at time.Time) []any {
	return []any{"info", fmt.Sprintf(`{"queues":["default"],"started_at":%f}`, float64(at.UnixMicro())/1e6)}
}

func TestInstanceOfAProcess(t *testing.T) {
	s := startRedis(t)
	f := s.fleet()
	p, name := startSidekiq(t, "sidekiq.heartbe")
	wants := func(want string, is error) {
		t.Helper()
		got, err := f.Resolve(p)
		if got != want || !errors.Is(err, is) {
			t.Errorf("%q, %v; want %q, %v", got, err, want, is)
		}
	}
	wants("", ErrAbsent) // another Redis
	s.beat(name+"00000000000a", everywhere, startedAt(time.Now().Add(-time.Hour))...)
	s.beat("other"+name+"00000000000b", everywhere, startedAt(time.Now().Add(time.Minute))...)
	s.beat(name+"nononce", everywhere, startedAt(time.Now())...)
	wants("", ErrAbsent) // the one before it, that had its pid, is not it
	s.beat(name+"00000000000c", everywhere, startedAt(time.Now())...)
	wants(name+"00000000000c", nil)
	s.beat(name+"00000000000d", everywhere, startedAt(time.Now())...)
	wants("", ErrAmbiguous) // two hosts with one hostname
	s.do("DEL", name+"00000000000d")
	wants(name+"00000000000c", nil)
	s.do("PERSIST", name+"00000000000c")
	s.do("HSET", name+"00000000000c", "beat", "1000000200")
	wants("", ErrDead)
}

func TestDynoIsTheHost(t *testing.T) {
	s := startRedis(t)
	p, name := startSidekiq(t, "heartbeat")
	t.Setenv("DYNO", "worker.1")
	_, pid, _ := strings.Cut(strings.TrimSuffix(name, ":"), ":")
	id := "worker.1:" + pid + ":00000000000a"
	s.beat(id, everywhere, startedAt(time.Now())...)
	if got, err := s.fleet().Resolve(p); got != id || err != nil {
		t.Error(got, err)
	}
}

// One that boots is not given another's instance, though hostname and pid are the same: that of a replica that started later.
func TestBootingSidekiqIsNotAnotherOne(t *testing.T) {
	s := startRedis(t)
	p, name := startSidekiq(t, "sidekiq", "sidekiq.schedul")
	s.beat(name+"00000000000a", everywhere, startedAt(time.Now())...)
	if got, err := s.fleet().Resolve(p); got != "" || !errors.Is(err, ErrBooting) {
		t.Error(got, err)
	}
}

// What the job hook noted decides, though hostname and start say something else; a note that somebody else could have
// written, or that is of another process, does not.
func TestNoteOfTheHookDecides(t *testing.T) {
	s := startRedis(t)
	p, name := startSidekiq(t, "heartbeat")
	file, note := notes(t, p.ID.PID)
	other, noted := name+"00000000000a", fmt.Sprintf("elsewhere:%d:00000000000b", p.ID.PID)
	s.beat(other, everywhere, startedAt(time.Now())...)
	s.beat(noted, everywhere, startedAt(time.Now().Add(-time.Hour))...)
	old := time.Now().Add(-time.Hour)
	for what, c := range map[string]struct {
		identity string
		change   func() error
		want     string
	}{
		"as it is":                          {noted, func() error { return nil }, noted},
		"there is none":                     {noted, func() error { return os.Remove(file) }, other},
		"writable by others":                {noted, func() error { return os.Chmod(file, 0o666) }, other},
		"of a process that had its pid":     {noted, func() error { return os.Chtimes(file, old, old) }, other},
		"of another pid":                    {"elsewhere:1:00000000000b", func() error { return nil }, other},
		"of another user":                   {noted, func() error { return os.Chown(file, 65534, 65534) }, other},
		"a link, which anybody could write": {noted, func() error { return errors.Join(os.Rename(file, file+".x"), os.Symlink(file+".x", file)) }, other},
	} {
		os.Remove(file)
		note(c.identity)
		if err := c.change(); errors.Is(err, os.ErrPermission) {
			continue // only root gives files away
		} else if err != nil {
			t.Fatal(err)
		}
		if got, err := s.fleet().Resolve(p); got != c.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", what, got, err, c.want)
		}
	}
}
