package main

import (
	"cmp"
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

	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
	"gracekit/lib/watch"
)

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
		hasSidekiq := slices.ContainsFunc(s.Workers, func(w Worker) bool { return w.HasJobs })
		s.noAlarm = !t.asked && s.Snapshot == nil && !hasSidekiq
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
	return t.OpenBoth()
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
		field = cmp.Or(watch.Measures[s.Snapshot.Measure], proc.RSS)
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

// stateIsCurrent reports whether the watcher has not written its state since it was
// read.
func (s *Service) stateIsCurrent() bool {
	if s.state == "" {
		return true
	}
	info, err := os.Stat(s.state)
	return err == nil && info.ModTime().Equal(s.written)
}
