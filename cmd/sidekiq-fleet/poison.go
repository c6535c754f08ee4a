package main

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/fleet"
	"gracekit/lib/proc"
)

// evidenceInterval is the time between two questions what an instance runs while it is restarted.
const evidenceInterval = 250 * time.Millisecond

// recordJobs records which jobs run at a hard restart, until the process has exited or the restart has ended. A job that
// eats the memory is pushed back each time, and comes back.
func (l *local) recordJobs(done <-chan struct{}) {
	f, err := l.open()
	if err != nil {
		return
	}
	defer f.Close()
	watched := map[*instance]*fleet.Evidence{}
	for _, in := range l.subject.instances {
		if l.targetIsSidekiq() && in.process.ID != l.target.ID {
			continue // another worker of the service, which is not over the limit
		}
		watched[in] = nil
	}
	for len(watched) > 0 {
		over := isClosed(done)
		var processes []unix.PollFd
		for in, e := range watched {
			ended := in.process.Ended()
			if e == nil {
				e, err = l.newEvidence(f, in)
				watched[in] = e
			} else {
				f.Begin()
				err = e.Collect()
			}
			switch {
			case ended && e != nil:
				l.finish(f, e)
			case ended:
				l.Warn("cannot record which jobs of %v ran at this restart: %v", in.process.ID, err)
			}
			if ended || over {
				delete(watched, in)
			} else {
				processes = append(processes, in.process.PollFd())
			}
		}
		if len(processes) > 0 {
			proc.Poll(processes, evidenceInterval)
		}
	}
}

// newEvidence begins the evidence of an instance. One that has just booted may not be known to Redis yet.
func (l *local) newEvidence(f *fleet.Fleet, in *instance) (e *fleet.Evidence, err error) {
	f.Begin()
	if in.identity == "" {
		if in.identity, err = f.Resolve(in.process); err != nil {
			return nil, err
		}
	}
	return f.NewEvidence(in.identity, in.process)
}

// targetIsSidekiq tells whether the target is one Sidekiq, perhaps of several of a service that is restarted as a whole.
func (l *local) targetIsSidekiq() bool {
	return slices.ContainsFunc(l.subject.instances, func(in *instance) bool { return in.process.ID == l.target.ID })
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// finish keeps what ran at this restart, names the jobs that ran at the one before as well, and moves the one that must
// be the cause to the dead set. It is in its queue now, if no other instance has taken it yet.
func (l *local) finish(f *fleet.Fleet, e *fleet.Evidence) {
	record, err := e.Finish()
	if err != nil {
		l.Warn("%v", err)
	}
	records, err := e.Remember(record)
	if err != nil {
		l.Error("cannot record which jobs ran at this restart: %v", err)
		return
	}
	for _, job := range fleet.Suspects(records) {
		l.Error("job %s (%s, queue %s) ran at each of the last %d restarts for the hard limit: it may be what uses the memory",
			word(job.JID), word(job.Class), word(job.Queue), job.Restarts)
	}
	job, ok := fleet.Poison(records, l.PoisonAfter)
	if !ok {
		return
	}
	switch moved, err := f.Bury(job); {
	case err != nil:
		l.Error("cannot move job %s (%s) to the dead set: %v", word(job.JID), word(job.Class), err)
	case moved:
		l.Error("job %s (%s) was moved from queue %s to the dead set: no other job ran at the last %d restarts for the hard limit (POISON_AFTER)",
			word(job.JID), word(job.Class), word(job.Queue), l.PoisonAfter)
	default:
		l.Warn("job %s (%s) is not moved to the dead set now: it is not in queue %s (another instance has taken it); trying again at the next restart",
			word(job.JID), word(job.Class), word(job.Queue))
	}
}
