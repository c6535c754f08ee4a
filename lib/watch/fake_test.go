package watch

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
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
	now      time.Duration
	set      time.Duration // by how much the time of day was set
	ended    time.Duration // when the watch ends
	script   []event       // what happens, in order of time
	target   *fakeProcess
	refusal  error // of the target; nil: none
	children []*fakeProcess
	next     sizes // of the process that the supervisor starts when the target has exited; nil: none
	titledAt time.Duration
	largest  int64 // KB, of what is below the target
	wanted   service.WantedState
	prog     run // what the next prog does
	running  *fakeProg
	progs    []string                 // environments of the progs that ran
	state    string                   // the state file
	history  func() (*history, error) // nil: none is kept
}

// event is something that happens at a time.
type event struct {
	at       time.Duration
	commands string
	do       func(*fakeWorld)
}

func at(second int, do func(*fakeWorld)) event {
	return event{at: start + time.Duration(second)*time.Second, do: do}
}

func command(second int, letters string) event {
	return event{at: start + time.Duration(second)*time.Second, commands: letters}
}

// start is when the tests begin.
const start = 1000 * time.Second

// run is what a prog does.
type run struct {
	takes  time.Duration // a second at least
	code   int           // with which it exits
	spares bool          // the process does not end with it
	after  func()        // when it has exited
}

// sizes is how large a process is, in KB, by its age.
type sizes func(age time.Duration) int64

func constant(kb int64) sizes { return func(time.Duration) int64 { return kb } }

// growing is kb at the start and perSecond more each second.
func growing(kb, perSecond int64) sizes {
	return func(age time.Duration) int64 { return kb + int64(age.Seconds()*float64(perSecond)) }
}

// between is one size for some seconds, and another from then on.
func between(before int64, seconds float64, after int64) sizes {
	return func(age time.Duration) int64 {
		if age.Seconds() < seconds {
			return before
		}
		return after
	}
}

type fakeProcess struct {
	w                         *fakeWorld
	id                        proc.ID
	size                      sizes
	titledAt                  time.Duration // age at which its title appears; 0: never
	available                 int64
	err                       error // of a reading
	quiet, idle, frozen, dead bool
}

// start makes a process that starts now.
func (w *fakeWorld) start(pid int, size sizes) *fakeProcess {
	const tick = 10 * time.Millisecond // of start times
	return &fakeProcess{w: w, id: proc.ID{PID: pid, Start: uint64(w.now / tick)}, size: size, titledAt: w.titledAt, available: 1 << 20}
}

func (p *fakeProcess) ID() proc.ID               { return p.id }
func (p *fakeProcess) PollFd() unix.PollFd       { return unix.PollFd{} }
func (p *fakeProcess) Ended() bool               { return p.dead }
func (p *fakeProcess) Close()                    {}
func (p *fakeProcess) Available() (int64, error) { return p.available, nil }
func (p *fakeProcess) Quiet() (quiet, idle bool) { return p.quiet, p.idle }
func (p *fakeProcess) Frozen() bool              { return p.frozen }
func (p *fakeProcess) Read(notes *BootNotes) (reading, error) {
	age := p.w.now - p.id.StartTime()
	return reading{kb: p.size(age), titled: notes != nil && p.titledAt > 0 && age >= p.titledAt}, p.err
}

type fakeProg struct {
	w    *fakeWorld
	id   proc.ID
	ends time.Duration
	of   string // GRACE_TARGET
	run
}

func (r *fakeProg) end() {
	for _, p := range append(r.w.children, r.w.target) {
		p.dead = p.dead || !r.spares && r.of == "GRACE_TARGET="+p.id.String()
	}
	if r.after != nil {
		r.after()
	}
}

func (r *fakeProg) ID() proc.ID         { return r.id }
func (r *fakeProg) PollFd() unix.PollFd { return unix.PollFd{} }
func (r *fakeProg) Ended() bool         { return r.w.now >= r.ends }
func (r *fakeProg) SignalGroup(sig unix.Signal) error {
	r.ends, r.code, r.spares = r.w.now, 128+int(sig), true
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
	if on.prog != nil {
		next = min(next, w.running.ends)
	}
	if next == grace.Never {
		return now, errors.New("nothing will ever happen")
	}
	w.now = max(w.now, next)
	if r := w.running; r != nil && r.Ended() {
		w.running = nil
		r.end()
	}
	if w.now >= w.ended {
		return woken{stop: true}, nil
	}
	if len(w.script) > 0 && w.now >= w.script[0].at {
		event := w.script[0]
		w.script = w.script[1:]
		if event.do != nil {
			event.do(w)
		}
		now.commands, now.hook = []byte(event.commands), event.commands != ""
	}
	return now, nil
}

func (w *fakeWorld) Target() (process, error) {
	if w.refusal != nil {
		return nil, w.refusal
	}
	if w.target.dead && w.next != nil {
		w.target = w.start(w.target.id.PID+1, w.next)
	}
	if w.target.dead {
		return nil, &service.GoneError{Why: "the service is down"}
	}
	return w.target, nil
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

func (w *fakeWorld) Start(argv, environ []string) (running, error) {
	w.progs = append(w.progs, strings.Join(environ, " "))
	id := proc.ID{PID: 5000 + len(w.progs), Start: 1}
	w.running = &fakeProg{w: w, id: id, ends: w.now + max(w.prog.takes, time.Second), of: environ[0], run: w.prog}
	return w.running, nil
}

func (w *fakeWorld) Resume(_ proc.ID, noted string) running {
	if w.running != nil && !w.running.Ended() && w.running.id.String() == noted {
		return w.running
	}
	return nil
}

func (w *fakeWorld) History() (*history, error) {
	if w.history == nil {
		return nil, nil
	}
	return w.history()
}

func (w *fakeWorld) Store() (*store, error) {
	open := func() (*service.Dir, error) {
		dir, _, err := service.OpenParent(w.state)
		return dir, err
	}
	return &store{path: w.state, name: filepath.Base(w.state), open: open, boot: "boot", self: "1:1", control: "fifo"}, nil
}

// newWorld is a world with one process.
func newWorld(t *testing.T, size sizes) *fakeWorld {
	w := &fakeWorld{now: start, ended: grace.Never, wanted: service.WantedState{Up: true}, state: filepath.Join(t.TempDir(), "state")}
	w.target = w.start(100, size)
	return w
}

// config is a watch of a pid with a check each second.
func config(t *testing.T, soft, hard int64) Config {
	return Config{Target: target(t, "100"), Prog: []string{"prog"}, File: "/prog", Soft: limitOf(soft), Hard: limitOf(hard), Measure: "rss",
		Grace: 10 * time.Second, Interval: time.Second, Retry: time.Minute, ControlGID: -1}
}

// limitOf is a limit of that many KB.
func limitOf(kb int64) (size units.Size) {
	size.Set(strconv.FormatInt(kb, 10))
	return size
}

func target(t *testing.T, text string) service.Target {
	target, err := service.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// ofService makes the target a service, which is given by its name, and whose next
// process has that size.
func (w *fakeWorld) ofService(t *testing.T, cfg *Config, next sizes) {
	services := t.TempDir()
	if err := os.Mkdir(filepath.Join(services, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SVDIR", services)
	cfg.Target, w.next = target(t, "app"), next
}

// journal is what was logged: the name of each event, or the level of each other message, with its time since the start.
type journal struct {
	w    *fakeWorld
	text strings.Builder
	full bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.full.Write(line)
	_, rest, _ := strings.Cut(string(line), "msg=")
	name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	fmt.Fprintf(&j.text, "%v %s, ", (j.w.now - start).Round(10*time.Millisecond), name)
	return len(line), nil
}

func (j *journal) Error(format string, args ...any) {
	fmt.Fprintf(j, "msg=ERROR "+format+"\n", args...)
}
func (j *journal) Warn(format string, args ...any) { fmt.Fprintf(j, "msg=WARN "+format+"\n", args...) }
func (j *journal) Info(format string, args ...any) { fmt.Fprintf(j, "msg=INFO "+format+"\n", args...) }
func (j *journal) Note(format string, args ...any) { j.Info(format, args...) }

func (j *journal) String() string { return strings.TrimSuffix(j.text.String(), ", ") }

// watched is the journal without its first line, which is watching.
func (j *journal) watched() string {
	_, rest, _ := strings.Cut(j.String(), "watching")
	return strings.TrimPrefix(rest, ", ")
}

// timesOf are the times of an event.
func (j *journal) timesOf(event string) (times []string) {
	for _, line := range strings.Split(j.String(), ", ") {
		if at, ok := strings.CutSuffix(line, " "+event); ok {
			times = append(times, at)
		}
	}
	return times
}

// watchFor runs a watch, for most at most, and returns what it logged.
func watchFor(w *fakeWorld, cfg Config, most time.Duration) (*journal, error) {
	j := &journal{w: w}
	w.ended = w.now + most
	cfg.Log, cfg.Messages = slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{ReplaceAttr: withoutTime})), j
	l := newLoop(&cfg, w)
	defer l.close()
	if err := l.start(); err != nil {
		return j, err
	}
	return j, l.run()
}
