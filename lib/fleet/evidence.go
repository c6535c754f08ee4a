package fleet

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"gracekit/lib/proc"
)

// Evidence is which jobs an instance runs while it is restarted because it is over its hard limit. No single source
// tells: Redis knows a job only from the next heartbeat on, and the process may exit before that; the job hook may not
// be loaded; and Sidekiq pushes back to the queues only what it interrupts. So the evidence is the union of all three.
type Evidence struct {
	f        *Fleet
	identity string
	process  *proc.Process
	queues   []string
	began    time.Time         // by Redis' clock
	tails    map[string]*tail  // by queue
	jobs     map[string]RanJob // by JID
	complete bool              // no job can be missing
	done     int64             // how many jobs all instances had done before
	threads  int
}

// RanJob is a job that ran. Its payload is empty where only the job hook knew of it.
type RanJob struct {
	JID     string `json:"jid"`
	Class   string `json:"class"`
	Queue   string `json:"queue"`
	payload string
}

// NewEvidence is that of an instance, which must be known to Redis. The queues are read at once: what is pushed back to
// them later was not there then.
func (f *Fleet) NewEvidence(identity string, p *proc.Process) (*Evidence, error) {
	in, err := f.One(identity)
	if err != nil {
		return nil, err
	}
	began, err := f.redis.Time(f.ctx).Result()
	if err != nil {
		return nil, f.wrap(err)
	}
	done, err := f.jobsDone()
	if err != nil {
		return nil, f.wrap(err)
	}
	e := &Evidence{f: f, identity: identity, process: p, queues: in.Queues, began: began, tails: map[string]*tail{},
		jobs: map[string]RanJob{}, done: done, threads: in.Concurrency}
	for _, queue := range e.queues {
		e.tails[queue] = &tail{}
	}
	if err := e.Collect(); err != nil {
		return nil, err
	}
	return e, nil
}

// Collect adds what can be seen now. Call it every now and then until the process has exited, and right after that.
func (e *Evidence) Collect() error {
	if note, ok := readNote(e.process); ok && note.Identity == e.identity {
		e.complete = true // it is written at the start and at the end of each job
		for _, job := range note.Jobs {
			e.add(job)
		}
	}
	if err := e.readQueues(); err != nil { // first, because a peer takes what was pushed back at once
		return err
	}
	if in, err := e.f.One(e.identity); err == nil {
		e.complete = e.complete || in.Quiet // the jobs are as new as that, and no other has begun since
	}
	jobs, err := e.f.Jobs(e.identity)
	for _, job := range jobs {
		e.add(RanJob{job.JID, job.Class, job.Queue, job.Payload})
	}
	return err
}

func (e *Evidence) add(job RanJob) {
	if job.JID == "" {
		return
	}
	if known, ok := e.jobs[job.JID]; ok && known.payload != "" {
		return
	}
	e.jobs[job.JID] = job
}

// tailLength is how much of a queue is read: more than an instance has threads.
const tailLength = 200

func (e *Evidence) readQueues() error {
	lists := make([]*redis.StringSliceCmd, len(e.queues))
	err := e.f.pipeline(func(p redis.Pipeliner) {
		for i, queue := range e.queues {
			lists[i] = p.LRange(e.f.ctx, e.f.prefix+"queue:"+queue, -tailLength, -1)
		}
	})
	if err != nil {
		return err
	}
	for i, queue := range e.queues {
		for _, payload := range e.tails[queue].step(lists[i].Val(), e.began) {
			job := parsePayload([]byte(payload))
			e.add(RanJob{job.JID, job.Class, queue, payload})
		}
	}
	return nil
}

// tail is the end of a queue from which Sidekiq takes jobs, and to which it pushes back those that it interrupts. New
// jobs come in at the other end.
type tail struct {
	begun bool
	last  []string
	seen  map[string]bool
}

// step returns the jobs that were pushed back since the last step.
func (t *tail) step(now []string, began time.Time) (back []string) {
	whole := len(t.last) < tailLength // the queue was no longer than what was read of it
	newest := -1                      // the last of those that were there before: what is behind it was pushed to the end
	for i, payload := range now {
		if slices.Contains(t.last, payload) {
			newest = i
		}
	}
	for i, payload := range now {
		if !t.begun || slices.Contains(t.last, payload) {
			continue
		}
		if t.seen[payload] || newest >= 0 && i > newest || whole && enqueuedBefore(payload, began) {
			back = append(back, payload)
		}
	}
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	for _, payload := range now {
		t.seen[payload] = true
	}
	t.begun, t.last = true, now
	return back
}

// enqueuedBefore tells whether a job was enqueued before that time, by its own account. One that does not tell was.
func enqueuedBefore(payload string, at time.Time) bool {
	var stamps struct {
		EnqueuedAt float64 `json:"enqueued_at"` // Unix time: seconds, or milliseconds from Sidekiq 8 on
		CreatedAt  float64 `json:"created_at"`
	}
	json.Unmarshal([]byte(payload), &stamps)
	seconds := max(stamps.EnqueuedAt, stamps.CreatedAt)
	if seconds > 1e11 {
		seconds /= 1000
	}
	enqueued, ok := unixTime(seconds)
	return !ok || enqueued.Before(at)
}

// Record is what ran at one hard restart.
type Record struct {
	At       int64    `json:"at"` // Unix time, s
	Identity string   `json:"identity"`
	Complete bool     `json:"complete"` // no job that ran can be missing
	Done     int64    `json:"done"`     // how many jobs all instances had done, or pushed back, by then
	Others   int64    `json:"others"`   // how many of them since the record before are none of Jobs
	Jobs     []RanJob `json:"jobs"`
}

// Finish is the record, once the process has exited. Where no other instance could take the jobs that were pushed back,
// those that were found are all there are.
func (e *Evidence) Finish() (Record, error) {
	err := e.readQueues()
	r := Record{At: time.Now().Unix(), Identity: e.identity, Complete: err == nil && (e.complete || e.isAlone())}
	for _, job := range e.jobs {
		r.Jobs = append(r.Jobs, job)
	}
	slices.SortFunc(r.Jobs, func(a, b RanJob) int { return strings.Compare(a.JID, b.JID) })
	return r, err
}

// jobsDone is how many jobs all instances have done.
func (f *Fleet) jobsDone() (int64, error) {
	n, err := f.redis.Get(f.ctx, f.prefix+"stat:processed").Int64()
	if err == redis.Nil {
		err = nil
	}
	return n, err
}

func (e *Evidence) isAlone() bool {
	all, err := e.f.All()
	return err == nil && !slices.ContainsFunc(all, func(in Instance) bool {
		return in.Identity != e.identity && in.State() != Dead && slices.ContainsFunc(in.Queues, func(q string) bool { return slices.Contains(e.queues, q) })
	})
}

const (
	recordsKept = 100
	recordsTTL  = 7 * 24 * time.Hour
)

// Remember keeps the record, and returns it with those before it, the newest first. They are those of all instances that
// serve the same queues: the job that was pushed back is done by any of them.
func (e *Evidence) Remember(r Record) ([]Record, error) {
	queues := slices.Clone(e.queues)
	slices.Sort(queues)
	key := e.f.prefix + "gracekit:hard:" + strings.Join(slices.Compact(queues), ",")
	kept, err := e.f.redis.LRange(e.f.ctx, key, 0, recordsKept-2).Result()
	if err == nil {
		r.Done, err = e.f.jobsDone()
	}
	if err != nil {
		return nil, e.f.wrap(err)
	}
	records := []Record{r}
	for _, text := range kept {
		var one Record
		if json.Unmarshal([]byte(text), &one) == nil {
			records = append(records, one)
		}
	}
	records[0].Others = e.others(records)
	text, err := json.Marshal(records[0])
	if err != nil {
		return nil, err
	}
	_, err = e.f.redis.TxPipelined(e.f.ctx, func(p redis.Pipeliner) error {
		p.LPush(e.f.ctx, key, text)
		p.LTrim(e.f.ctx, key, 0, recordsKept-1)
		p.Expire(e.f.ctx, key, recordsTTL)
		return nil
	})
	return records, e.f.wrap(err)
}

// others is how many jobs were done since the record before, or since this restart began, besides those in the newest
// record. Jobs that are shorter than a heartbeat are seen nowhere else. Where there is one thread, a job that ran at both
// restarts has left none for others.
func (e *Evidence) others(records []Record) int64 {
	if e.threads == 1 {
		return 0
	}
	before := e.done
	if len(records) > 1 {
		before = records[1].Done
	}
	return max(records[0].Done-before-int64(len(records[0].Jobs)), 0)
}
