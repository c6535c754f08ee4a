package fleet

import (
	"context"
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
	noted    bool              // the job hook tells what runs
	quiet    bool              // a heartbeat has told what runs since no job can begin
	done     int64             // how many jobs all instances had done before
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
	ctx, cancel := f.context()
	defer cancel()
	began, err := f.redis.Time(ctx).Result()
	if err != nil {
		return nil, f.wrap(err)
	}
	done, err := f.jobsDone(ctx)
	if err != nil {
		return nil, err
	}
	e := &Evidence{f: f, identity: identity, process: p, queues: in.Queues, began: began, tails: map[string]*tail{},
		jobs: map[string]RanJob{}, done: done}
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
	if note, ok := ReadNote(e.process); ok && note.Identity == e.identity {
		e.noted = true // it is written at the start and at the end of each job
		for _, job := range note.Jobs {
			e.add(RanJob{job.JID, job.Class, job.Queue, ""})
		}
	}
	if err := e.readQueues(); err != nil { // first, because a peer takes what was pushed back at once
		return err
	}
	if in, err := e.f.One(e.identity); err == nil {
		e.quiet = e.quiet || in.Quiet
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
	ctx, cancel := e.f.context()
	defer cancel()
	lists := make([]*redis.StringSliceCmd, len(e.queues))
	err := e.f.pipeline(ctx, func(p redis.Pipeliner) {
		for i, queue := range e.queues {
			lists[i] = p.LRange(ctx, e.f.prefix+"queue:"+queue, -tailLength, -1)
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
	Complete bool     `json:"complete"` // no job can be missing
	Jobs     []RanJob `json:"jobs"`
}

// Finish is the record, once the process has exited.
func (e *Evidence) Finish() (Record, error) {
	err := e.readQueues()
	r := Record{At: time.Now().Unix(), Identity: e.identity}
	for _, job := range e.jobs {
		r.Jobs = append(r.Jobs, job)
	}
	slices.SortFunc(r.Jobs, func(a, b RanJob) int { return strings.Compare(a.JID, b.JID) })
	if err == nil {
		r.Complete, err = e.isComplete()
	}
	return r, err
}

// isComplete tells whether no job can be missing. Without the job hook there is one that nothing has shown if more jobs
// were done, or pushed back, than were found: a short one, that ended between two heartbeats. Sidekiq counts what it has
// done at each heartbeat and when it exits; so jobs of the last seconds before count, and those of other instances, too.
func (e *Evidence) isComplete() (bool, error) {
	if e.noted {
		return true, nil
	}
	ctx, cancel := e.f.context()
	defer cancel()
	done, err := e.f.jobsDone(ctx)
	if err != nil || done-e.done > int64(len(e.jobs)) {
		return false, err
	}
	return e.quiet || e.isAlone(), nil // where nobody else could take what was pushed back, that is all there was
}

// jobsDone is how many jobs all instances have done.
func (f *Fleet) jobsDone(ctx context.Context) (int64, error) {
	n, err := f.redis.Get(ctx, f.prefix+"stat:processed").Int64()
	if err != nil && err != redis.Nil {
		return 0, f.wrap(err)
	}
	return n, nil
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
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := e.f.context()
	defer cancel()
	var kept *redis.StringSliceCmd
	_, err = e.f.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LPush(ctx, key, text)
		p.LTrim(ctx, key, 0, recordsKept-1)
		p.Expire(ctx, key, recordsTTL)
		kept = p.LRange(ctx, key, 0, -1)
		return nil
	})
	if err != nil {
		return nil, e.f.wrap(err)
	}
	var records []Record
	for _, text := range kept.Val() {
		var one Record
		if json.Unmarshal([]byte(text), &one) == nil {
			records = append(records, one)
		}
	}
	records[0] = r // with the payloads
	return records, nil
}
