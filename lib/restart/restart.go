// Package restart ends a target so that no job is lost: it quiets the workers,
// waits for their jobs, stops them, and cleans up what they leave. It decides
// how; its caller decided that it is time, and a supervisor starts the next
// process.
package restart

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/units"
)

// Config is what a restart needs to know. All values are final: where a setting
// comes from is the caller's business.
type Config struct {
	Target *proc.Process // ended with all that belongs to it; held by one pidfd through all steps

	// Values is called once for each worker: the target if it is a Sidekiq, else
	// every Sidekiq below it, else the target.
	Values func(worker *proc.Process) Values

	Limit Limit
	Size  func(worker *proc.Process) (kb int64, err error) // what Limit is compared with; nil: nothing is

	// AskRedis asks for the end of the jobs of a worker that shows nothing of them,
	// as a Sidekiq that JRuby runs. The answer comes once: nil when they have ended.
	// It is nil where there is no Redis to ask.
	AskRedis func(worker *proc.Process) <-chan error

	Lock Lock // nil: nothing keeps two restarts of this target apart

	Log
}

// Values are how one worker is restarted.
type Values struct {
	Wait    units.Duration // how long its jobs may take after the quiet signal
	Timeout units.Duration // how long it takes by itself to end after the stop signal: -t of Sidekiq
	Quiet   unix.Signal    // 0: none
	Stop    unix.Signal

	// QuietIsSet: the quiet signal was chosen for this worker and is not the
	// default. A worker that is not a Sidekiq is then expected to exit by it.
	QuietIsSet bool
}

// Log is where the steps are reported.
type Log struct {
	Info, Warn, Error func(format string, args ...any)
}

// Lock keeps a second restart of the same target from cutting the first one's wait short.
type Lock interface {
	// TryLock returns at once. If it is held, holder is the pid of the process that holds it.
	TryLock() (locked bool, holder int, err error)
}

const (
	hardWait    = 30 * time.Second       // a restart for the hard limit does not wait longer for jobs
	dumpTime    = 500 * time.Millisecond // for a thread dump, between TTIN and KILL
	killTime    = 5 * time.Second        // a killed process needs that long at most, unless it hangs in the kernel
	cleanUpTime = 5 * time.Second        // between TERM and KILL for what is left
	settleTime  = 3 * time.Second        // for a Sidekiq to handle the quiet signal, before it gets the stop signal
	parentEnd   = 5 * time.Second        // for the target to end when its last worker has

	firstInterval = 50 * time.Millisecond  // between two checks of a worker, at first
	lastInterval  = 200 * time.Millisecond // and in the end
	sizeInterval  = 500 * time.Millisecond // between two checks of its size
)

// ErrInterrupted is the error of a restart that was ended by its context before
// it had sent a signal.
var ErrInterrupted = errors.New("interrupted before anything was signalled")

// Run restarts the target. When ctx is done before the first signal, nothing is
// done: ErrInterrupted. Later it cannot be undone, because a quiet worker stays
// quiet: the wait ends, and the stop signal comes. It returns what survived.
func Run(ctx context.Context, c Config) (left []proc.ID, err error) {
	sys := newLinux(c)
	defer sys.close()
	return run(ctx, sys, c)
}

// Plan describes what Run would do, a line each, and does nothing.
func Plan(c Config) ([]string, error) {
	sys := newLinux(c)
	defer sys.close()
	return plan(sys, c)
}

// A system is where the processes are, and the time that they take.
type system interface {
	Now() time.Duration
	// Sleep returns at that time, or when one of the processes has ended.
	Sleep(until time.Duration, processes []process)
	Target() process
	Sidekiqs() ([]process, error) // among the target and its descendants, now
	ListAll() error               // records what belongs to the target, or refuses to signal it
	CleanUp() (left []proc.ID, err error)
}

// A process is one that is signalled.
type process interface {
	fmt.Stringer
	ID() proc.ID
	Ended() bool
	Send(sig unix.Signal) error
	Catches(sig unix.Signal) (bool, error)
	IsStopped() bool
	IsBooting() bool                     // it is going to be a Sidekiq
	AskRedis() bool                      // from now on Idle is what Redis answers; false: there is none
	Idle() (idle, quiet bool, err error) // quiet: it shows that it takes no more jobs
	KB() (int64, error)
	Values() Values
}

// restart is one that runs.
type restart struct {
	Config
	sys     system
	workers []*worker
}

func run(ctx context.Context, sys system, c Config) (left []proc.ID, err error) {
	r := &restart{Config: c, sys: sys}
	if ended, err := r.waitForOther(ctx); ended || err != nil {
		return nil, ignoreGone(err)
	}
	if err := r.begin(); err != nil {
		return nil, ignoreGone(err)
	}
	if ctx.Err() != nil {
		return nil, ErrInterrupted
	}
	for _, w := range r.workers {
		r.quiet(w)
	}
	r.wait(ctx)
	r.settle()
	r.stopAll()
	return sys.CleanUp()
}

// begin finds the workers and all that belongs to the target. Its errors are
// refusals: nothing has been signalled.
func (r *restart) begin() error {
	if err := r.sys.ListAll(); err != nil {
		return err
	}
	if err := r.find(); err != nil {
		return err
	}
	for _, w := range r.workers {
		if err := w.Send(0); ignoreGone(err) != nil {
			return fmt.Errorf("cannot signal %v: %w", w, err)
		}
	}
	return nil
}

// find lists the workers. A target without a Sidekiq is the worker itself.
func (r *restart) find() error {
	sidekiqs, err := r.sys.Sidekiqs()
	if err != nil {
		return err
	}
	for _, s := range sidekiqs {
		r.workers = append(r.workers, newWorker(s, true))
	}
	if len(r.workers) == 0 {
		r.workers = append(r.workers, newWorker(r.sys.Target(), false))
	}
	return nil
}

// waitForOther waits while another restart of the same target is under way, so as
// not to cut its wait short. It returns early when the target has passed the
// limit: then this restart goes on beside the other.
func (r *restart) waitForOther(ctx context.Context) (ended bool, err error) {
	if r.Lock == nil {
		return false, nil
	}
	locked, holder, err := r.Lock.TryLock()
	if err != nil {
		r.Info("cannot lock %v against a second restart: %v", r.sys.Target(), err)
	}
	if locked || err != nil {
		return false, nil
	}
	r.Info("graceful-restart with pid %d is restarting %v already: waiting for it", holder, r.sys.Target())
	if err := r.find(); err != nil {
		return errors.Is(err, proc.ErrGone), err
	}
	rule := r.newLimitRule()
	for !locked && err == nil {
		if ctx.Err() != nil {
			return true, ErrInterrupted
		}
		if rule.ended(r.workers) {
			break
		}
		r.sys.Sleep(r.sys.Now()+lastInterval, nil)
		locked, _, err = r.Lock.TryLock()
	}
	r.workers = nil
	return false, err
}

// quiet sends the quiet signal, and decides whether anything is waited for.
func (r *restart) quiet(w *worker) {
	w.phase = ready
	caught, err := w.Catches(w.config.Quiet)
	if r.reported(w, err) {
		return
	}
	most := r.most(w)
	switch {
	case w.config.Quiet == 0:
		r.Info("%v gets no quiet signal: not waiting for jobs", w)
		return
	case most == 0:
		r.Info("%v gets no quiet signal, because the wait is 0", w)
		return
	case !caught && w.IsBooting():
		r.Info("%v is booting and has no handler for %s yet: it has no jobs to wait for", w, schedule.Name(w.config.Quiet))
		return
	case !caught && !w.sidekiq:
		r.Info("%v is not a Sidekiq: not waiting for jobs (it has no handler for %s)", w, schedule.Name(w.config.Quiet))
		return
	case !caught:
		r.Info("%v has no handler for %s: not waiting for its jobs", w, schedule.Name(w.config.Quiet))
		return
	}
	if r.reported(w, r.send(w, w.config.Quiet)) {
		return
	}
	switch {
	case w.sidekiq:
		r.Info("%v got %s: waiting %s for its jobs", w, schedule.Name(w.config.Quiet), upTo(most))
	case w.config.QuietIsSet:
		r.Info("%v got %s: waiting %s for it to exit", w, schedule.Name(w.config.Quiet), upTo(most))
	case w.AskRedis():
		w.asked = true
		r.Info("%v got %s, but has no heartbeat thread: waiting %s for what sidekiq-fleet says of its jobs", w, schedule.Name(w.config.Quiet), upTo(most))
	default:
		r.Info("%v got %s, but is not a Sidekiq: not waiting for jobs (if it is one under JRuby or RUBY_MN_THREADS, set REDIS_URL)",
			w, schedule.Name(w.config.Quiet))
		return
	}
	w.phase, w.until = waiting, after(r.sys.Now(), most)
	if w.sidekiq {
		w.settled = r.sys.Now() + settleTime
	}
}

// most is how long a worker is waited for.
func (r *restart) most(w *worker) units.Duration {
	if r.Limit.Hard {
		return min(w.config.Wait, units.Duration(hardWait))
	}
	return w.config.Wait
}

// wait waits until no worker has jobs, or their time is up.
func (r *restart) wait(ctx context.Context) {
	rule := r.newLimitRule()
	interval := firstInterval
	for {
		next := r.sys.Now() + interval
		var left []process
		for _, w := range r.workers {
			if w.phase == waiting {
				r.checkWorker(w)
			}
			if w.phase == waiting {
				left = append(left, w.process)
				next = min(next, w.until)
			}
		}
		switch {
		case len(left) == 0:
			return
		case ctx.Err() != nil:
			r.Warn("interrupted: not waiting any longer, because a quiet worker cannot be made to take jobs again")
			return
		case rule.ended(r.workers):
			return
		}
		r.sys.Sleep(next, left)
		interval = min(2*interval, lastInterval)
	}
}

// checkWorker takes a worker out of the wait that has ended, is idle, or has had its time.
func (r *restart) checkWorker(w *worker) {
	if w.Ended() {
		w.phase = ended
		r.Info("%v has exited", w)
		return
	}
	var err error
	if w.sidekiq || w.asked {
		var idle bool
		if idle, _, err = w.Idle(); idle {
			w.phase, w.settled = ready, 0
			r.Info("%v is idle", w)
			return
		}
	}
	if answered := w.asked && err != nil; r.sys.Now() < w.until && !answered {
		return
	}
	w.phase = ready
	switch {
	case !w.sidekiq && !w.asked:
		r.Warn("%v has not exited in time", w)
	case errors.Is(err, proc.ErrGone): // the next check would have seen it
	case err != nil:
		r.Warn("cannot tell whether %v still has jobs: %v", w, err)
	default:
		r.Warn("%v still has jobs: Sidekiq pushes those back that do not end within its own timeout of %v", w, w.config.Timeout)
	}
}

// settle keeps the stop signal apart from the quiet signal. Sidekiq 6 with Ruby
// 3.1 fails when it finds both in the pipe that its signal handlers write to, and
// loses its jobs; with many threads that compute it reads the pipe late.
func (r *restart) settle() {
	for _, w := range r.workers {
		for w.phase <= ready && r.sys.Now() < w.settled && !w.Ended() {
			if _, quiet, err := w.Idle(); quiet && err == nil {
				break
			}
			r.sys.Sleep(min(w.settled, r.sys.Now()+lastInterval), []process{w.process})
		}
	}
}

// stopAll ends the workers, and then the target. A target in front of them,
// such as a shell, must not end before they have: its supervisor would start a
// second Sidekiq beside one that still ends its jobs.
//
// A parent may have put a new worker in the place of one that ended. It is
// stopped in another round, after the parent got its signal.
func (r *restart) stopAll() {
	r.addNew()
	r.stopReady()
	for range 3 {
		if !r.stopTarget() {
			return
		}
		r.addNew()
		if !r.stopReady() {
			return
		}
	}
}

// stopReady stops the workers that are ready for it, and waits for their end.
func (r *restart) stopReady() (any bool) {
	for _, w := range r.workers {
		if w.phase == waiting || w.phase == ready {
			r.stop(w)
			any = true
		}
	}
	r.awaitEnd()
	return any
}

// addNew adds the Sidekiqs that were not there before. What cannot be listed is
// left to the clean-up.
func (r *restart) addNew() {
	sidekiqs, err := r.sys.Sidekiqs()
	if ignoreGone(err) != nil {
		r.Warn("cannot list further workers of %v: %v", r.sys.Target(), err)
	}
	for _, s := range sidekiqs {
		if !r.has(s.ID()) {
			w := newWorker(s, true)
			w.phase = ready
			r.workers = append(r.workers, w)
		}
	}
}

func (r *restart) has(id proc.ID) bool {
	for _, w := range r.workers {
		if w.ID() == id {
			return true
		}
	}
	return false
}

func (r *restart) stop(w *worker) {
	if r.reported(w, r.send(w, w.config.Stop)) {
		return
	}
	w.phase, w.until = stopping, after(r.sys.Now(), twice(w.config.Timeout))
	r.Info("%v got %s: waiting %s for it to exit", w, schedule.Name(w.config.Stop), upTo(twice(w.config.Timeout)))
}

// awaitEnd waits until all workers that got the stop signal have ended, or were
// killed in vain.
func (r *restart) awaitEnd() {
	for {
		next := never
		var left []process
		for _, w := range r.workers {
			if w.isEnding() {
				r.enforceTimeout(w)
			}
			if w.isEnding() {
				left = append(left, w.process)
				next = min(next, w.until)
			}
		}
		if len(left) == 0 {
			return
		}
		r.sys.Sleep(next, left)
	}
}

// enforceTimeout goes on to the thread dump and to KILL when a worker that was
// stopped has had its time.
func (r *restart) enforceTimeout(w *worker) {
	if w.Ended() {
		w.phase = ended
		r.Info("%v has exited", w)
		return
	}
	was, now := w.phase, r.sys.Now()
	sig := w.expire(now)
	switch {
	case w.phase == was:
		return
	case w.phase == dumping:
		if caught, err := w.Catches(sig); err != nil || !caught {
			w.until = now // there is no dump to wait for
			return
		}
		r.Info("%v got TTIN: a thread dump is in its log", w)
	case w.phase == killed:
		r.Error("%v did not exit within %v of %s: sending KILL", w, twice(w.config.Timeout), schedule.Name(w.config.Stop))
	case w.phase == survived:
		r.Error("%v has not exited %v after KILL", w, killTime)
		return
	}
	r.reported(w, r.send(w, sig))
}

// stopTarget ends a target that is none of the workers, if it is still there.
func (r *restart) stopTarget() (sent bool) {
	target := r.sys.Target()
	if target.Ended() || r.has(target.ID()) {
		return false
	}
	if err := r.send(target, unix.SIGTERM); err != nil {
		if ignoreGone(err) != nil {
			r.Warn("cannot send TERM to %v: %v", target, err)
		}
		return false
	}
	r.Info("%v got TERM, after its last worker", target)
	r.sys.Sleep(r.sys.Now()+parentEnd, []process{target})
	return true
}

// send sends a signal, and CONT after it: a stopped process handles none.
func (r *restart) send(p process, sig unix.Signal) error {
	stopped := p.IsStopped()
	err := p.Send(sig)
	if err == nil && stopped && sig != unix.SIGKILL {
		err = p.Send(unix.SIGCONT)
	}
	return err
}

// reported tells whether there is an error of a worker, and logs it. That it
// has ended is none.
func (r *restart) reported(w *worker, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, proc.ErrGone):
		w.phase = ended
		r.Info("%v has exited", w)
	default:
		w.phase = survived
		r.Error("cannot signal %v: %v", w, err)
	}
	return true
}

func ignoreGone(err error) error {
	if errors.Is(err, proc.ErrGone) {
		return nil
	}
	return err
}
