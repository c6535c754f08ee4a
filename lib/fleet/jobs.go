package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Job is a job that was running at the last heartbeat of its instance.
type Job struct {
	Identity string
	Thread   string // its thread, as Sidekiq names it
	JID      string
	Class    string // that of the job itself, where ActiveJob wraps it
	Queue    string
	Running  time.Duration // since it was started
	Payload  string        // what was in the queue
}

// Jobs are the running jobs of these instances, the longest running first. A job that was started after the last
// heartbeat (5 s in Sidekiq 6, 10 s from 7 on) is not among them.
func (f *Fleet) Jobs(identities ...string) ([]Job, error) {
	var jobs []Job
	for some := range slices.Chunk(identities, batch) {
		found, err := f.jobsOf(some)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, found...)
	}
	slices.SortFunc(jobs, func(a, b Job) int {
		return cmp.Or(cmp.Compare(b.Running, a.Running), cmp.Compare(a.Identity, b.Identity), cmp.Compare(a.Thread, b.Thread))
	})
	return jobs, nil
}

func (f *Fleet) jobsOf(identities []string) (jobs []Job, err error) {
	var now *redis.TimeCmd
	var work [][2]*redis.MapStringStringCmd
	err = f.pipeline(func(p redis.Pipeliner) {
		now = p.Time(f.ctx)
		for _, id := range identities {
			work = append(work, [2]*redis.MapStringStringCmd{
				p.HGetAll(f.ctx, f.prefix+id+":work"),    // from Sidekiq 7 on
				p.HGetAll(f.ctx, f.prefix+id+":workers"), // Sidekiq 6
			})
		}
	})
	if err != nil {
		return nil, err
	}
	for i, id := range identities {
		for _, hash := range work[i] {
			for thread, text := range hash.Val() {
				job := parseJob([]byte(text), now.Val())
				job.Identity, job.Thread = id, thread
				jobs = append(jobs, job)
			}
		}
	}
	return jobs, nil
}

// parseJob reads what Sidekiq notes of a running job. One that cannot be read is a job all the same.
func parseJob(text []byte, now time.Time) Job {
	var noted struct {
		Queue   string          `json:"queue"`
		RunAt   float64         `json:"run_at"`  // Unix time, seconds
		Payload json.RawMessage `json:"payload"` // JSON in a string; an object before Sidekiq 6
	}
	json.Unmarshal(text, &noted)
	inner := []byte(noted.Payload)
	if quoted := ""; bytes.HasPrefix(inner, []byte(`"`)) && json.Unmarshal(inner, &quoted) == nil {
		inner = []byte(quoted)
	}
	job := parsePayload(inner)
	job.Queue = noted.Queue
	if started, ok := unixTime(noted.RunAt); ok {
		job.Running = max(now.Sub(started), 0)
	}
	return job
}

// parsePayload reads what is in a queue.
func parsePayload(text []byte) Job {
	var payload struct {
		JID     string `json:"jid"`
		Class   string `json:"class"`
		Wrapped any    `json:"wrapped"`
	}
	json.Unmarshal(text, &payload)
	if wrapped, ok := payload.Wrapped.(string); ok && wrapped != "" {
		payload.Class = wrapped
	}
	return Job{JID: payload.JID, Class: payload.Class, Payload: string(text)}
}
