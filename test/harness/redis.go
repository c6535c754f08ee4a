package harness

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Redis is a real redis-server of the test's own, on a unix socket.
type Redis struct {
	w      *World
	Socket string
	jobs   int
}

// Redis starts a redis-server without persistence, unless options say otherwise.
func (w *World) Redis(options ...string) *Redis {
	w.Helper()
	r := &Redis{w: w, Socket: w.Path("redis.sock")}
	c := w.Command("redis-server", append([]string{"--port", "0", "--unixsocket", r.Socket, "--save", "", "--appendonly", "no", "--dir", w.Dir,
		"--logfile", w.Path("redis.log"), "--set-proc-title", "no"}, options...)...) // a title would be written over the mark in its environment
	w.Start(c)
	w.Eventually("redis answers", func() bool { return w.Run("redis-cli", "-s", r.Socket, "PING").Stdout == "PONG\n" })
	return r
}

func (r *Redis) URL() string { return "unix://" + r.Socket }

// Command is the answer of Redis.
func (r *Redis) Command(args ...string) string {
	r.w.Helper()
	answer := r.w.Run("redis-cli", append([]string{"-s", r.Socket}, args...)...)
	if answer.Code != 0 {
		r.w.Fatalf("redis-cli %v: %s", args, answer.Stderr)
	}
	return strings.TrimSpace(answer.Stdout)
}

// Enqueue pushes n jobs of a class as Sidekiq's client does, and returns their JIDs.
func (r *Redis) Enqueue(n int, class string, args ...any) (jids []string) {
	r.w.Helper()
	push := []string{"LPUSH", "queue:default"}
	for range n {
		r.jobs++
		jid := fmt.Sprintf("%024x", r.jobs)
		push = append(push, Job(jid, "default", class, args...))
		jids = append(jids, jid)
	}
	r.Command(push...)
	return jids
}

// Job is a job of now, as Sidekiq's client writes it.
func Job(jid, queue, class string, args ...any) string {
	now := float64(time.Now().UnixMicro()) / 1e6
	job, err := json.Marshal(map[string]any{"class": class, "args": args, "queue": queue, "jid": jid, "retry": false, "created_at": now, "enqueued_at": now})
	if err != nil {
		panic(err) // there is nothing in it that can't be
	}
	return string(job)
}
