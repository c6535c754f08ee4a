package fleet

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

//go:embed bury.lua
var buryLua string

var buryScript = redis.NewScript(buryLua)

// Suspect is a job that ran at each of the last hard restarts.
type Suspect struct {
	RanJob
	Restarts int // how many in a row, up to now
}

// Suspects are the jobs that ran at each of the last two hard restarts. Records are the newest first.
func Suspects(records []Record) (list []Suspect) {
	for _, job := range records[0].Jobs {
		n := 1
		for n < len(records) && records[n].has(job.JID) {
			n++
		}
		if n > 1 {
			list = append(list, Suspect{job, n})
		}
	}
	return list
}

// Poison is the job that ran at each of the last so many hard restarts while no other job ran. A long job that ran each
// time beside others is not that, nor is one at a restart where a job may have been missed. Nor is one in whose time
// others were done, since those may have left the memory behind: but before the first of these restarts that is so
// wherever there is work.
func Poison(records []Record, restarts int) (job RanJob, ok bool) {
	if restarts < 1 || len(records) < restarts {
		return RanJob{}, false
	}
	for i, r := range records[:restarts] {
		first := i > 0 && i == restarts-1
		if !r.Complete || len(r.Jobs) != 1 || !records[0].has(r.Jobs[0].JID) || r.Others > 0 && !first {
			return RanJob{}, false
		}
	}
	return records[0].Jobs[0], true
}

func (r Record) has(jid string) bool {
	for _, job := range r.Jobs {
		if job.JID == jid {
			return true
		}
	}
	return false
}

// As Sidekiq has them: dead_max_jobs and dead_timeout_in_seconds.
const (
	deadMax     = 10000
	deadSeconds = 180 * 24 * 60 * 60
)

// Bury moves a job from its queue to Sidekiq's dead set, in one step; false if it is not in the queue.
func (f *Fleet) Bury(job RanJob) (moved bool, err error) {
	if job.payload == "" {
		if job.payload, err = f.findPayload(job); job.payload == "" || err != nil {
			return false, err
		}
	}
	answer, err := f.runInTime(buryScript, []string{f.prefix + "queue:" + job.Queue, f.prefix + "dead"}, job.payload, deadMax, deadSeconds)
	return answer == "moved", err
}

// findPayload is the payload of a job in its queue, or "".
func (f *Fleet) findPayload(job RanJob) (string, error) {
	list, err := f.redis.LRange(f.ctx, f.prefix+"queue:"+job.Queue, -tailLength, -1).Result()
	if err != nil {
		return "", f.wrap(err)
	}
	for _, payload := range list {
		if parsePayload([]byte(payload)).JID == job.JID {
			return payload, nil
		}
	}
	return "", nil
}
