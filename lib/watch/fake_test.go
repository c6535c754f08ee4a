package watch

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/units"
)

// fakeWorld is a machine whose clock moves only while the loop waits: to the
// first thing that happens.
type fakeWorld struct {
	t         *testing.T
	now       time.Duration
	set       time.Duration // by how much the time of day was set
	target    *fakeProcess  // nil: down
	children  []*fakeProcess
	largest   int64 // KB, of what is below the target
	refused   error
	wanted    service.WantedState
	script    []fakeEvent // what happens, in order of time
	prog      func() run  // what the next prog does
	progs     []string    // environments of the progs that ran, with the time
	running   *fakeProg
	state     string              // the state file
	successor func() *fakeProcess // what the supervisor starts, a second after an exit
	ended     time.Duration       // when the watch ends
}

// fakeEvent is something that happens at a time.
type fakeEvent struct {
	at       time.Duration
	commands string
	do       func()
}

// run is what a prog does.
type run struct {
	takes time.Duration
	code  int    // with which it exits
	kills bool   // the target ends with it
	does  func() // when it exits
}

type fakeProcess struct {
	w         *fakeWorld
	id        proc.ID
	size      func(age time.Duration) int64
	titledAt  time.Duration // age at which its title appears; 0: never
	available int64
	quiet     bool
	idle      bool
	frozen    bool
	err       error
	dead      bool
}

const tick = 10 * time.Millisecond // a clock tick, of start times

// start makes a process that starts now.
func (w *fakeWorld) start(pid int, size func(age time.Duration) int64) *fakeProcess {
	return &fakeProcess{w: w, id: proc.ID{PID: pid, Start: uint64(w.now / tick)}, size: size, available: 1 << 20}
}

func constant(kb int64) func(time.Duration) int64 { return func(time.Duration) int64 { return kb } }

// growing is kb at the start and perSecond more each second.
func growing(kb, perSecond int64) func(time.Duration) int64 {
	return func(age time.Duration) int64 { return kb + int64(age.Seconds()*float64(perSecond)) }
}

func (p *fakeProcess) ID() proc.ID { return p.id }
func (p *fakeProcess) Ended() bool { return p.dead }
func (p *fakeProcess) Close()      {}
func (p *fakeProcess) age() time.Duration {
	return p.w.now - p.id.StartTime()
}
func (p *fakeProcess) PollFd() unix.PollFd { return unix.PollFd{} }
func (p *fakeProcess) Read(*BootNotes) (reading, error) {
	if p.err != nil {
		return reading{}, p.err
	}
	return reading{kb: p.size(p.age()), titled: p.titledAt > 0 && p.age() >= p.titledAt}, nil
}
func (p *fakeProcess) Available() (int64, error) { return p.available, nil }
func (p *fakeProcess) Quiet() (quiet, idle bool) { return p.quiet, p.idle }
func (p *fakeProcess) Frozen() bool              { return p.frozen }

type fakeProg struct {
	w    *fakeWorld
	id   proc.ID
	ends time.Duration
	run
	signals []unix.Signal
}

func (r *fakeProg) ID() proc.ID         { return r.id }
func (r *fakeProg) PollFd() unix.PollFd { return unix.PollFd{} }
func (r *fakeProg) Ended() bool         { return r.w.now >= r.ends }
func (r *fakeProg) SignalGroup(sig unix.Signal) error {
	r.signals = append(r.signals, sig)
	r.ends, r.code = r.w.now, 128+int(sig)
	return nil
}
func (r *fakeProg) Reap() exit {
	return exit{known: true, code: r.code, text: fmt.Sprintf("exit status %d", r.code)}
}

func (w *fakeWorld) Now() time.Duration { return w.now }
func (w *fakeWorld) Wall() time.Time    { return time.Unix(0, 0).Add(w.now + w.set) }

// Wait moves the clock to the first thing that happens.
func (w *fakeWorld) Wait(on waits) (now woken, err error) {
	if on.process != nil && on.process.Ended() || on.prog != nil && on.prog.Ended() {
		return now, nil
	}
	next := min(on.until, w.ended)
	if len(w.script) > 0 {
		next = min(next, w.script[0].at)
	}
	if r, ok := on.prog.(*fakeProg); ok {
		next = min(next, r.ends)
	}
	if next == grace.Never {
		return now, errors.New("nothing will ever happen")
	}
	w.now = max(w.now, next)
	if r := w.running; r != nil && r.Ended() {
		w.running = nil
		if r.does != nil {
			r.does()
		}
	}
	if w.now >= w.ended {
		return woken{stop: true}, nil
	}
	if len(w.script) > 0 && w.now >= w.script[0].at {
		event := w.script[0]
		w.script = w.script[1:]
		if event.do != nil {
			event.do()
		}
		now.commands, now.hook = []byte(event.commands), event.commands != ""
	}
	return now, nil
}

func (w *fakeWorld) Target() (process, error) {
	switch {
	case w.refused != nil:
		return nil, w.refused
	case w.target != nil && w.target.dead && w.successor != nil:
		w.target = w.successor()
		fallthrough
	case w.target != nil && !w.target.dead:
		return w.target, nil
	}
	return nil, &service.GoneError{Why: "the service is down"}
}

func (w *fakeWorld) Wanted() (service.WantedState, error) { return w.wanted, nil }

func (w *fakeWorld) Instances(process) (ids []proc.ID, err error) {
	for _, c := range w.children {
		if !c.dead {
			ids = append(ids, c.id)
		}
	}
	return ids, nil
}

func (w *fakeWorld) Open(id proc.ID) (process, error) {
	for _, c := range w.children {
		if c.id == id && !c.dead {
			return c, nil
		}
	}
	return nil, proc.ErrGone
}

func (w *fakeWorld) LargestBelow(process) (proc.ID, int64) {
	return proc.ID{PID: 101, Start: 1}, w.largest
}

func (w *fakeWorld) History() *history { return nil }
func (w *fakeWorld) Store() (*store, error) {
	open := func() (*service.Dir, error) {
		dir, _, err := service.OpenParent(w.state)
		return dir, err
	}
	return &store{path: w.state, name: filepath.Base(w.state), open: open, boot: "boot", self: "1:1", control: "fifo"}, nil
}

func (w *fakeWorld) Start(argv, environ []string) (running, error) {
	w.progs = append(w.progs, fmt.Sprintf("%v %s", w.now-start, strings.Join(environ, " ")))
	o := w.prog()
	if o.kills {
		id := strings.TrimPrefix(environ[0], "GRACE_TARGET=")
		before := o.does
		o.does = func() {
			for _, p := range append(w.children, w.target) {
				if p.id.String() == id {
					p.dead = true
				}
			}
			if before != nil {
				before()
			}
		}
	}
	w.running = &fakeProg{w: w, id: proc.ID{PID: 5000 + len(w.progs), Start: 1}, ends: w.now + o.takes, run: o}
	return w.running, nil
}

func (w *fakeWorld) Resume(target proc.ID, noted string) running {
	if w.running != nil && !w.running.Ended() && w.running.id.String() == noted {
		return w.running
	}
	return nil
}

// start is when the tests begin.
const start = 1000 * time.Second

// journal is what was logged: each event with its time since the start.
type journal struct {
	w     *fakeWorld
	lines []string
	full  bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.full.Write(line)
	_, rest, _ := strings.Cut(string(line), "msg=")
	name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	j.lines = append(j.lines, fmt.Sprintf("%v %s", (j.w.now-start).Round(10*time.Millisecond), name))
	return len(line), nil
}

func (j *journal) Error(format string, args ...any) {
	fmt.Fprintf(j, "msg=ERROR "+format+"\n", args...)
}
func (j *journal) Warn(format string, args ...any) { fmt.Fprintf(j, "msg=WARN "+format+"\n", args...) }
func (j *journal) Info(string, ...any)             {}
func (j *journal) Note(string, ...any)             {}

// newWorld is a world with one process, and a prog that ends it in a second.
func newWorld(t *testing.T, size func(age time.Duration) int64) *fakeWorld {
	w := &fakeWorld{t: t, now: start, state: filepath.Join(t.TempDir(), "state"), ended: grace.Never, wanted: service.WantedState{Up: true}}
	w.target = w.start(100, size)
	w.prog = func() run { return run{takes: time.Second, kills: true} }
	return w
}

// config is a watch of a pid with a check each second.
func config(t *testing.T, soft, hard int64) Config {
	target, err := service.Parse("100")
	if err != nil {
		t.Fatal(err)
	}
	return Config{Target: target, Prog: []string{"prog"}, File: "/prog", Soft: units.KB(soft), Hard: units.KB(hard), Measure: proc.RSS,
		Grace: 10 * time.Second, Interval: time.Second, Retry: time.Minute, ControlGID: -1}
}

// follow makes the target a service, whose process has a successor.
func follow(t *testing.T, cfg *Config, w *fakeWorld, successor func(pid int) *fakeProcess) {
	target, err := service.Parse(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Target = target
	pid := 100
	w.successor = func() *fakeProcess {
		pid++
		return successor(pid)
	}
}

// watchFor runs a watch, for most at most, and returns what it logged.
func watchFor(w *fakeWorld, cfg Config, most time.Duration) (*journal, error) {
	j := &journal{w: w}
	w.ended = w.now + most
	cfg.Log = slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	cfg.Messages = j
	l := newLoop(&cfg, w)
	defer l.close()
	if err := l.start(); err != nil {
		return j, err
	}
	return j, l.run()
}

// expect compares the journal, without its first line, which is watching.
func expect(t *testing.T, name string, j *journal, want ...string) {
	t.Helper()
	if len(j.lines) == 0 || !slices.Equal(j.lines[1:], want) {
		t.Errorf("%s:\n got %q\nwant %q\n%s", name, j.lines, want, j.full.String())
	}
}
