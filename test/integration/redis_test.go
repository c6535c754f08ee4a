package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A redis is a real redis-server of the test's own, on a unix socket, without persistence.
type redis struct {
	s      *sandbox
	socket string
	jobs   int
}

func (s *sandbox) redis() *redis {
	s.Helper()
	r := &redis{s: s, socket: s.path("redis.sock")}
	c := s.command("redis-server", "--port", "0", "--unixsocket", r.socket, "--save", "", "--appendonly", "no", "--dir", s.dir,
		"--logfile", s.path("redis.log"), "--set-proc-title", "no") // a title would be written over the mark in its environment
	s.start(c)
	s.waitFor("redis answers", func() bool {
		return s.run("redis-cli", "-s", r.socket, "PING").stdout == "PONG\n"
	})
	return r
}

func (r *redis) url() string { return "unix://" + r.socket }

func (r *redis) command(args ...string) string {
	r.s.Helper()
	answer := r.s.run("redis-cli", append([]string{"-s", r.socket}, args...)...)
	if answer.code != 0 {
		r.s.Fatalf("redis-cli %v: %s", args, answer.stderr)
	}
	return strings.TrimSpace(answer.stdout)
}

// enqueue pushes n jobs of a class as Sidekiq's client does, and returns their JIDs.
func (r *redis) enqueue(n int, class string, args ...any) (jids []string) {
	r.s.Helper()
	push := []string{"LPUSH", "queue:default"}
	for range n {
		r.jobs++
		jid := fmt.Sprintf("%024x", r.jobs)
		now := float64(time.Now().UnixMicro()) / 1e6
		job, err := json.Marshal(map[string]any{"class": class, "args": args, "queue": "default", "jid": jid,
			"retry": false, "created_at": now, "enqueued_at": now})
		if err != nil {
			r.s.Fatal(err)
		}
		push = append(push, string(job))
		jids = append(jids, jid)
	}
	r.command(push...)
	return jids
}
