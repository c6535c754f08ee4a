package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
	"gracekit/lib/watch"
)

// State is the one word that says how a worker is.
type State string

const (
	OK         State = "ok"
	Over       State = "over"       // over the soft limit, the grace timer runs
	Quiet      State = "quiet"      // it takes no jobs
	Restarting State = "restarting" // being restarted, or a restart failed and is tried again
	Postponed  State = "postponed"  // over a limit, and something keeps the restart from happening now
	Paused     State = "paused"     // an operator paused the watcher
	TooLow     State = "too-low"    // the limit is below what it needs at boot
	Down       State = "down"       // no process
	Unwatched  State = "unwatched"  // no gracewatch
)

// Worker is one process of a service.
type Worker struct {
	ID          proc.ID
	Age         time.Duration
	KB, PeakKB  int64 // what is watched (rss, say), and the most there was
	SoftKB      int64 // 0: none
	HardKB      int64
	State       State
	Detail      string // what the table says instead of the word, empty for none
	Over        time.Duration
	Busy, Slots int  // running jobs of a Sidekiq, and how many it can run
	HasJobs     bool // it is a Sidekiq whose title has the number of its jobs
	alarm       bool
	quiet       bool                    // a Sidekiq that takes no jobs
	seen        *watch.InstanceSnapshot // by its watcher; nil: not yet
}

// Service is one target.
type Service struct {
	Name     string
	Path     string // the service directory, or the target as it was given
	State    State  // of the worst of its workers
	Workers  []Worker
	Snapshot *watch.Snapshot // nil: nothing watches it, or it cannot be read
	Watcher  proc.ID         // zero: none
	history  string          // the path of its history; "": in supervise
	state    string          // the path of the state file that Snapshot is from; "": none
	written  time.Time       // when that file was written
	Missing  string          // what could not be read, and what is needed for it
	Err      error           // nothing is known of it
	target   target
	noAlarm  bool // it is not watched, and nothing says that it should be
	now      time.Duration
	read     time.Duration // when all of it was read
}

// attention tells whether an operator should look at it.
func (s *Service) attention() bool {
	if s.noAlarm {
		return false
	}
	for _, w := range s.Workers {
		if w.alarm {
			return true
		}
	}
	return s.State == Unwatched || s.State == Paused || s.State == Down
}

// lastRestart is the last one that is known, or nil.
func (s *Service) lastRestart() *watch.Restart {
	if s.Snapshot == nil {
		return nil
	}
	for i := len(s.Snapshot.Restarts) - 1; i >= 0; i-- {
		if r := &s.Snapshot.Restarts[i]; r.Outcome == "done" {
			return r
		}
	}
	return nil
}

// collector reads what there is to know.
type collector struct {
	targets []target // that were asked for; none: all there are
	boot    string

	mutex   sync.Mutex
	found   []watcher
	scanned time.Duration
}

func newCollector(words []string) (*collector, error) {
	boot, _ := proc.Boot() // without it every snapshot is of another boot
	c := &collector{boot: boot}
	for _, word := range words {
		t, err := service.Parse(word)
		if err != nil {
			return nil, err
		}
		c.targets = append(c.targets, target{t, nameOf(word), true})
	}
	return c, nil
}

// collect reads all targets, by their names. Where nobody asked for any, it is all
// services, without the watchers that are services themselves, and, unless SVDIR
// says where to look, all programs that are watched.
func (c *collector) collect() []Service {
	if len(c.targets) > 0 {
		return c.services(c.targets)
	}
	services := c.services(findServices())
	if os.Getenv("SVDIR") == "" {
		services = append(services, c.programs(services)...)
	}
	names := map[string]bool{}
	for i := range services { // two folders may each have a service of one name, and a program any name
		s := &services[i]
		if names[s.Name] {
			s.Name, s.target.name = s.Path, s.Path
		}
		names[s.Name] = true
	}
	slices.SortFunc(services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return services
}

// services reads as many targets at a time as there are CPUs.
func (c *collector) services(targets []target) (services []Service) {
	all, shown := make([]Service, len(targets)), make([]bool, len(targets))
	var begun atomic.Int32
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := int(begun.Add(1)) - 1; i < len(targets); i = int(begun.Add(1)) - 1 {
				all[i], shown[i] = c.service(targets[i])
			}
		})
	}
	group.Wait()
	for i := range all {
		if shown[i] {
			services = append(services, all[i])
		}
	}
	return services
}

func (c *collector) service(t target) (s Service, show bool) {
	s = Service{Name: t.name, Path: t.Text, State: Down, target: t, now: proc.Now()}
	s.read = s.now
	p, supervise, err := t.open()
	if supervise != nil {
		defer supervise.Close()
	}
	if p != nil {
		defer p.Close()
	}
	if p != nil && !t.asked && hasName(p, "gracewatch", "memory-killer", "gracestat", "sidekiq-fleet") {
		return s, false
	}
	c.readWatcher(t, p, supervise, &s)
	switch {
	case errors.Is(err, proc.ErrGone):
		wanted, err := t.WantedState()
		s.noAlarm = err == nil && !wanted.Up // it is down because its operator wants that
		return s, true
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w (run gracestat as root or as the user of its supervisor)", err)
		fallthrough
	case err != nil:
		s.Err, s.State = err, Unwatched
		return s, true
	}
	s.addWorkers(p)
	s.State = worst(s.Workers)
	switch {
	case s.Watcher == (proc.ID{}):
		s.State = Unwatched
		// A service that was watched once, or has a Sidekiq, is expected to be watched.
		s.noAlarm = !t.asked && s.Snapshot == nil && !hasSidekiq(s.Workers)
	case s.Snapshot.Paused:
		s.State = Paused
	}
	return s, true
}

// open opens its process, and supervise of a service directory; nil: there is none,
// or it cannot be used.
func (t target) open() (p *proc.Process, supervise *service.Dir, err error) {
	if t.Service() == "" {
		p, err = t.Open()
		return p, nil, err
	}
	p, supervise, err, _ = t.OpenBoth()
	return p, supervise, err
}

// addWorkers adds what is watched of a service: what the snapshot names and still
// lives, else the Sidekiqs, else the process itself.
func (s *Service) addWorkers(p *proc.Process) {
	if s.Watcher != (proc.ID{}) {
		for i := range s.Snapshot.Instances {
			seen := &s.Snapshot.Instances[i]
			if id, err := proc.ParseID(seen.ID); err == nil {
				s.add(id, seen)
			}
		}
	}
	if len(s.Workers) > 0 {
		return
	}
	ids, err := sidekiq.NewLister().List(p)
	if err != nil || len(ids) == 0 {
		ids = []proc.ID{p.ID}
	}
	for _, id := range ids {
		s.add(id, nil)
	}
}

// add adds a worker, if it has not ended.
func (s *Service) add(id proc.ID, seen *watch.InstanceSnapshot) {
	w := Worker{ID: id, seen: seen}
	p, err := proc.OpenID(id)
	if err != nil {
		if !errors.Is(err, proc.ErrGone) {
			s.Missing = err.Error()
		}
		return
	}
	defer p.Close()
	if is, err := sidekiq.IsSidekiq(p); err == nil && is {
		if status, err := sidekiq.NewWatch(p).Now(); err == nil {
			w.quiet = status.Stopping
			w.HasJobs, w.Busy, w.Slots = status.Concurrency > 0, status.Busy, status.Concurrency
		}
	}
	if w.measure(p, s) {
		s.Workers = append(s.Workers, w)
	}
}

// measure reads the size of a worker; false if it has ended.
func (w *Worker) measure(p *proc.Process, s *Service) bool {
	field := proc.RSS
	if s.Snapshot != nil {
		field = measured(s.Snapshot.Measure)
	}
	usage, err := p.Memory(field | proc.Peak)
	switch {
	case errors.Is(err, proc.ErrGone):
		return false
	case err != nil && s.Missing == "":
		s.Missing = err.Error()
	}
	w.KB, w.PeakKB = field.Sum(usage), usage.Peak
	if w.seen != nil {
		w.SoftKB, w.HardKB = w.seen.SoftKB, w.seen.HardKB
		w.PeakKB = max(w.PeakKB, w.seen.PeakKB)
	}
	w.Age = s.now - w.ID.StartTime()
	w.describe(s)
	return true
}

// readEvery is how often all of a service is read for --watch. What changes each
// second, the sizes, costs an eighth of that.
const readEvery = 5 * time.Second

// update reads the sizes anew. False: something else may have changed, and all of
// the service has to be read.
func (s *Service) update() bool {
	now := proc.Now()
	if now-s.read >= readEvery || len(s.Workers) == 0 || !s.stateIsCurrent() {
		return false
	}
	s.now = now
	for i := range s.Workers {
		p, err := proc.OpenID(s.Workers[i].ID)
		if err != nil {
			return false
		}
		ok := s.Workers[i].measure(p, s)
		p.Close()
		if !ok {
			return false
		}
	}
	return true
}

// stateIsCurrent tells whether the watcher has not written its state since it was
// read.
func (s *Service) stateIsCurrent() bool {
	if s.state == "" {
		return true
	}
	info, err := os.Stat(s.state)
	return err == nil && info.ModTime().Equal(s.written)
}

// describe says how a worker is, in a word and in prose.
func (w *Worker) describe(s *Service) {
	w.State, w.Detail, w.Over, w.alarm = OK, "", 0, false
	if s.Watcher == (proc.ID{}) {
		w.State, w.Detail = Unwatched, "NOT WATCHED"
		return
	}
	if s.Snapshot.Paused {
		w.State, w.alarm = Paused, true
		return
	}
	if w.seen == nil {
		if s.Missing != "" {
			w.Detail = "watched, limits not known"
		}
		return
	}
	if w.seen.State.Over {
		w.Over = s.now - w.seen.State.Since
	}
	switch w.seen.Phase {
	case watch.PhaseRestarting:
		w.State, w.Detail = Restarting, w.restarting(s)
	case watch.PhaseFailed:
		w.State, w.Detail, w.alarm = Restarting, "restart failed: "+w.seen.Why, true
	case watch.PhasePostponed:
		w.State, w.Detail, w.alarm = Postponed, "postponed: "+w.seen.Why, true
	case watch.PhaseTooLow:
		w.State, w.Detail, w.alarm = TooLow, "limit too low", true
	case watch.PhaseOver:
		w.State = Over
		w.Detail = fmt.Sprintf("over soft %s of %s", short(w.Over), short(s.Snapshot.Grace))
		if w.seen.State.OverHard {
			w.Detail = "over hard"
		}
	default:
		if w.quiet {
			w.State = Quiet
		}
	}
}

func (w *Worker) restarting(s *Service) string {
	since := ""
	if w.seen.RestartBegan > 0 {
		since = " " + short(s.now-w.seen.RestartBegan)
	}
	switch {
	case w.quiet && w.HasJobs && w.Busy == 1:
		return "restarting" + since + " (waiting for 1 job)"
	case w.quiet && w.HasJobs && w.Busy > 1:
		return fmt.Sprintf("restarting%s (waiting for %d jobs)", since, w.Busy)
	}
	return "restarting" + since
}

// severity orders states, the worst last.
var severity = []State{OK, Quiet, Over, Restarting, Postponed, Paused, TooLow, Down, Unwatched}

// worst is the state of a service of several workers.
func worst(workers []Worker) State {
	if len(workers) == 0 {
		return Down
	}
	at := 0
	for _, w := range workers {
		for i, state := range severity {
			if w.State == state {
				at = max(at, i)
			}
		}
	}
	return severity[at]
}

func hasSidekiq(workers []Worker) bool {
	for _, w := range workers {
		if w.HasJobs {
			return true
		}
	}
	return false
}

// measured are the figures that a name of --measure adds up.
func measured(name string) proc.Field {
	switch name {
	case "pss":
		return proc.PSS
	case "uss":
		return proc.USS
	case "anon":
		return proc.Anon
	case "rss+swap":
		return proc.RSS | proc.Swap
	}
	return proc.RSS
}

// command writes a letter to the control FIFO of a watcher (gracewatch(8)). It
// never waits: without a reader that is an error.
func (s *Service) command(letter byte) error {
	if s.Watcher == (proc.ID{}) {
		return fmt.Errorf("cannot reach the watcher of %s: no gracewatch watches it", s.Name)
	}
	path := s.Snapshot.Control
	if path == "" {
		return fmt.Errorf("cannot reach the watcher of %s: it has no control FIFO (start gracewatch with --control)", s.Name)
	}
	w, uid, err := openWatcher(s.Watcher)
	if err != nil {
		return fmt.Errorf("cannot reach the watcher of %s: %w", s.Name, err)
	}
	w.Close()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot reach the watcher of %s: %s: %w", s.Name, path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO || int(st.Uid) != uid {
		return fmt.Errorf("cannot reach the watcher of %s: %s is not a FIFO of its user", s.Name, path)
	}
	_, err = unix.Write(fd, []byte{letter})
	return err
}
