package harness

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// A Redis is a real redis-server of the test's own, on a unix socket.
type Redis struct {
	w      *World
	Server *Child
	Socket string
	jobs   int
}

// Redis starts a redis-server without persistence, unless options say otherwise.
func (w *World) Redis(options ...string) *Redis {
	w.Helper()
	r := &Redis{w: w, Socket: w.Path("redis.sock")}
	r.Server = w.Start(w.Command("redis-server", serverArgs(r.Socket, w.Dir, options)...))
	w.Eventually("redis answers", func() bool { return redisAnswers(r.Socket) })
	return r
}

// serverArgs are those of a redis-server without a port or persistence. A title would be written over the mark in its
// environment.
func serverArgs(socket, dir string, options []string) []string {
	return append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir,
		"--logfile", dir + "/redis.log", "--set-proc-title", "no"}, options...)
}

func redisAnswers(socket string) bool {
	return exec.Command("redis-cli", "-s", socket, "PING").Run() == nil
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
	now := float64(time.Now().UnixMicro()) / 1e6
	for range n {
		r.jobs++
		jid := fmt.Sprintf("%024x", r.jobs)
		job, err := json.Marshal(map[string]any{"class": class, "args": args, "queue": "default", "jid": jid, "retry": false,
			"created_at": now, "enqueued_at": now})
		r.w.Check(err)
		push = append(push, string(job))
		jids = append(jids, jid)
	}
	r.Command(push...)
	return jids
}
