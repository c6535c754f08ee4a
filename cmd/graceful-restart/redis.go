package main

import (
	"context"
	"os"
	"os/exec"

	"gracekit/lib/proc"
)

// redisAsker asks Redis for the end of the jobs of a worker that shows nothing of them: it has neither Sidekiq's title
// nor the names of its threads, as under JRuby. nil where there is no Redis to ask. sidekiq-fleet ends at the latest
// with the worker.
func redisAsker(ctx context.Context) func(worker *proc.Process) <-chan error {
	if os.Getenv("REDIS_URL") == "" && os.Getenv("REDIS_PROVIDER") == "" {
		return nil
	}
	return func(worker *proc.Process) <-chan error {
		cmd := exec.CommandContext(ctx, "sidekiq-fleet", "jobs", "--idle", "--wait", "inf", "--quiet", worker.ID.String())
		cmd.Stderr = os.Stderr
		answer := make(chan error, 1)
		go func() { answer <- cmd.Run() }()
		return answer
	}
}
