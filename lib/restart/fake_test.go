package restart

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
	"gracekit/lib/schedule"
	"gracekit/lib/units"
)

// world is a system whose time passes when somebody sleeps.
type world struct {
	*testing.T
	now       time.Duration
	target    *fake
	sidekiqs  []*fake
	refusal   error     // of ListAll
	listError error     // of Sidekiqs
	survivors []proc.ID // of CleanUp
	seen      []string  // signals in order: "2s TERM worker"
	logged    []string  // messages: "info: ..."
}

// fake is a process of the world. Times are never unless they are set.
type fake struct {
	w         *world
	pid       int
	handles   []unix.Signal
	denied    error // of each signal
	stopped   bool
	booting   bool
	from      time.Duration // when it is there
	idle      time.Duration // from then on it is idle
	quietFrom time.Duration // from then on its title shows that it is quiet
	idleError error
	redis     bool // there is one to ask
	exit      time.Duration
	kb        func(now time.Duration) int64
	values    Values
	on        map[unix.Signal]func() // what a signal does
}

var sidekiqHandles = []unix.Signal{unix.SIGTSTP, unix.SIGTERM, unix.SIGTTIN}

func newWorld(t *testing.T) *world { return &world{T: t} }

// process adds one that dies of TERM and KILL at once.
func (w *world) process(pid int) *fake {
	f := &fake{w: w, pid: pid, idle: never, exit: never, on: map[unix.Signal]func(){},
		values: Values{Wait: units.Duration(30 * time.Second), Timeout: units.Duration(25 * time.Second), Quiet: unix.SIGTSTP, Stop: unix.SIGTERM}}
	f.on[unix.SIGTERM] = f.exits(0)
	f.on[unix.SIGKILL] = f.exits(0)
	return f
}

// sidekiq adds one whose jobs end at idle, and that exits half a second after TERM.
func (w *world) sidekiq(pid int, idle time.Duration) *fake {
	f := w.process(pid)
	f.handles, f.idle = sidekiqHandles, idle
	f.on[unix.SIGTERM] = f.exits(500 * time.Millisecond)
	w.sidekiqs = append(w.sidekiqs, f)
	return f
}

func (f *fake) exits(after time.Duration) func() {
	return func() { f.exit = min(f.exit, f.w.now+after) }
}

func (w *world) config() Config {
	log := func(level string) func(string, ...any) {
		return func(format string, args ...any) { w.logged = append(w.logged, level+": "+fmt.Sprintf(format, args...)) }
	}
	return Config{Log: Log{log("info"), log("warning"), log("error")}}
}

func (w *world) Now() time.Duration { return w.now }

func (w *world) Sleep(until time.Duration, processes []process) {
	for _, p := range processes {
		until = min(until, p.(*fake).exit)
	}
	if until == never {
		w.Fatalf("it waits forever\n%s", strings.Join(append(w.seen, w.logged...), "\n"))
	}
	w.now = max(w.now, until)
}

func (w *world) Target() process { return w.target }

func (w *world) Sidekiqs() (list []process, err error) {
	if w.listError != nil {
		return nil, w.listError
	}
	for _, f := range w.sidekiqs {
		if f.from <= w.now && !f.Ended() {
			list = append(list, f)
		}
	}
	return list, nil
}

func (w *world) ListAll() error { return w.refusal }

func (w *world) CleanUp() ([]proc.ID, error) {
	w.note("clean-up")
	return w.survivors, nil
}

func (w *world) note(what string) {
	w.seen = append(w.seen, fmt.Sprintf("%v %s", w.now.Round(500*time.Millisecond), what))
}

// wantSent compares the signals; times are to half a second.
func (w *world) wantSent(want string) {
	w.Helper()
	if got := strings.Join(w.seen, ", "); got != want {
		w.Errorf("signals:\n  %s\nwant:\n  %s\nmessages:\n  %s", got, want, strings.Join(w.logged, "\n  "))
	}
}

func (w *world) wantLogged(want string) {
	w.Helper()
	for _, line := range w.logged {
		if strings.Contains(line, want) {
			return
		}
	}
	w.Errorf("no message has %q:\n%s", want, strings.Join(w.logged, "\n"))
}

func (f *fake) String() string  { return fmt.Sprintf("%d:1", f.pid) }
func (f *fake) ID() proc.ID     { return proc.ID{PID: f.pid, Start: 1} }
func (f *fake) Ended() bool     { return f.exit <= f.w.now }
func (f *fake) Values() Values  { return f.values }
func (f *fake) IsStopped() bool { return f.stopped }
func (f *fake) IsBooting() bool { return f.booting }
func (f *fake) AskRedis() bool  { return f.redis }
func (f *fake) Idle() (idle, quiet bool, err error) {
	return f.idle <= f.w.now, f.quietFrom <= f.w.now, f.idleError
}
func (f *fake) KB() (int64, error) { return f.kb(f.w.now), nil }

func (f *fake) Catches(sig unix.Signal) (bool, error) {
	if f.Ended() {
		return false, proc.ErrGone
	}
	return slices.Contains(f.handles, sig), nil
}

func (f *fake) Send(sig unix.Signal) error {
	switch {
	case f.denied != nil:
		return f.denied
	case f.Ended():
		return proc.ErrGone
	case sig == 0:
		return nil
	}
	f.w.note(fmt.Sprintf("%s %d", schedule.Name(sig), f.pid))
	if sig == unix.SIGCONT {
		f.stopped = false
	}
	if do := f.on[sig]; do != nil {
		do()
	}
	return nil
}
