package main

import (
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/fleet"
	"gracekit/lib/proc"
)

// lookPause is the time between two looks at what an instance runs while it is restarted.
const lookPause = 250 * time.Millisecond

// watchJobs finds out which jobs run at a hard restart, until the process has exited or the restart has ended. A job that
// eats the memory is pushed back each time, and comes back.
func (l *local) watchJobs(done <-chan struct{}) {
	f, err := l.open()
	if err != nil {
		return
	}
	defer f.Close()
	watched := map[*instance]*fleet.Evidence{}
	for _, in := range l.subject.instances {
		if in.process == nil || in.identity == "" || l.targetIsSidekiq() && in.process.ID != l.target.ID {
			continue // another worker of the service, which is not over the limit
		}
		f.Begin()
		e, err := f.NewEvidence(in.identity, in.process)
		if err != nil {
			l.Warn("cannot record which jobs of %s run at this restart: %v", in.identity, err)
			continue
		}
		watched[in] = e
	}
	for len(watched) > 0 {
		over := isClosed(done)
		for in, e := range watched {
			ended := in.process.Ended()
			f.Begin()
			if err := e.Look(); err != nil && ended {
				l.Warn("cannot record which jobs of %s ran at this restart: %v", in.identity, err)
			}
			if ended {
				l.finish(f, e)
			}
			if ended || over {
				delete(watched, in)
			}
		}
		if len(watched) > 0 {
			var fds []unix.PollFd
			for in := range watched {
				fds = append(fds, in.process.PollFd())
			}
			proc.Poll(fds, lookPause)
		}
	}
}

// targetIsSidekiq tells whether the target is one Sidekiq, perhaps of several of a service that is restarted as a whole.
func (l *local) targetIsSidekiq() bool {
	for _, in := range l.subject.instances {
		if in.process.ID == l.target.ID {
			return true
		}
	}
	return false
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
	job, ok := fleet.Poison(records, l.poisonAfter)
	if !ok {
		return
	}
	switch moved, err := f.Bury(job); {
	case err != nil:
		l.Error("cannot move job %s (%s) to the dead set: %v", word(job.JID), word(job.Class), err)
	case moved:
		l.Error("job %s (%s) was moved from queue %s to the dead set: no other job ran at the last %d restarts for the hard limit (POISON_AFTER)",
			word(job.JID), word(job.Class), word(job.Queue), l.poisonAfter)
	default:
		l.Warn("job %s (%s) is not moved to the dead set now: it is not in queue %s (another instance has taken it); trying again at the next restart",
			word(job.JID), word(job.Class), word(job.Queue))
	}
}
