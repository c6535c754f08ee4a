package watch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cgroup"
	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/sidekiq"
)

// host is the world as it is: the machine.
type host struct {
	cfg      *Config
	machine  int64  // its memory and swap, KB
	text     []byte // what readTitle reads: one for all, 500 booting processes would have 3 KB each
	stop     int    // readable when the watch is to end
	controls []controlFIFO
	commands [4096]byte
	scan     *proc.Scanner
	lister   *sidekiq.Lister
	found    []proc.ID
	fds      []unix.PollFd
	oomScore *oomScore
}

// controlFIFO is one that commands come from.
type controlFIFO struct {
	fd   int
	hook bool // that of --control
}

func newHost(cfg *Config, stop int) *host {
	return &host{cfg: cfg, machine: machineKB(), stop: stop, scan: proc.NewScanner(), lister: sidekiq.NewLister(), oomScore: &oomScore{}}
}

func (h *host) close() {
	h.scan.Close()
	for _, c := range h.controls {
		unix.Close(c.fd)
	}
}

func (h *host) Now() time.Duration { return proc.Now() }

func (h *host) Wall() time.Time { return time.Now() }

// Wait is one ppoll(2) for everything.
func (h *host) Wait(on waits) (now woken, err error) {
	h.fds = append(h.fds[:0], unix.PollFd{Fd: int32(h.stop), Events: unix.POLLIN})
	for _, c := range h.controls {
		h.fds = append(h.fds, unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN})
	}
	if on.process != nil {
		h.fds = append(h.fds, on.process.PollFd())
	}
	if on.prog != nil {
		h.fds = append(h.fds, on.prog.PollFd())
	}
	timeout := time.Duration(-1)
	if on.until < grace.Never {
		timeout = max(0, on.until-proc.Now())
	}
	if _, err := proc.Poll(h.fds, timeout); err != nil {
		return now, err
	}
	now.stop = h.fds[0].Revents != 0
	n := 0
	for i, c := range h.controls {
		if h.fds[1+i].Revents == 0 {
			continue
		}
		m, err := unix.Read(c.fd, h.commands[n:])
		if err != nil || m <= 0 {
			continue
		}
		n, now.hook = n+m, now.hook || c.hook
	}
	now.commands = h.commands[:n]
	return now, nil
}

func (h *host) Target() (process, error) {
	p, err := h.cfg.Target.Open()
	if err != nil {
		return nil, err
	}
	return &machineProcess{p, h}, nil
}

func (h *host) Wanted() (service.WantedState, error) { return h.cfg.Target.WantedState() }

func (h *host) Instances(target process) ([]proc.ID, error) {
	p := target.(*machineProcess).Process
	var list []proc.Stat
	var err error
	switch {
	case h.cfg.Match != "":
		list, err = h.scan.Match(p, h.cfg.Match)
	case h.cfg.Scope == proc.ScopeSidekiq:
		return h.lister.List(p)
	default:
		list, err = h.scan.Children(p)
	}
	h.found = h.found[:0]
	for _, s := range list {
		h.found = append(h.found, s.ID())
	}
	return h.found, err
}

// Open opens an instance beside the target.
func (h *host) Open(id proc.ID) (process, error) {
	p, err := proc.OpenID(id)
	if err != nil {
		return nil, err
	}
	if err := enoughFiles(p); err != nil {
		p.Close()
		return nil, err
	}
	return &machineProcess{p, h}, nil
}

// enoughFiles tells whether descriptors are left when an instance is watched: it
// needs up to four itself, and without any there would be no restart.
func enoughFiles(p *proc.Process) error {
	const spare = 16
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err != nil || uint64(p.PollFd().Fd)+spare <= most.Cur {
		return nil // the kernel gives the lowest number that is free
	}
	return fmt.Errorf("%w: %d are allowed (ulimit -n, chpst -o)", unix.EMFILE, most.Cur)
}

// machineProcess is a process of the machine.
type machineProcess struct {
	*proc.Process
	host *host
}

func (p *machineProcess) ID() proc.ID { return p.Process.ID }

// Sizes that cannot be true.
var (
	errNothing = errors.New("0 KB is not the size of a process that runs")
	errTooMuch = errors.New("larger than all the memory of the machine")
)

func (p *machineProcess) Read(notes *BootNotes) (r reading, err error) {
	r.kb, err = p.size()
	isSum := p.host.cfg.Match == "" && (p.host.cfg.Scope == proc.ScopeGroup || p.host.cfg.Scope == proc.ScopeTree)
	switch {
	case err != nil:
		return r, err
	case r.kb == 0:
		return r, errNothing
	case r.kb > p.host.machine && !isSum: // that counts more than once what is shared
		return r, errTooMuch
	}
	if notes != nil {
		p.readTitle(&r, notes)
	}
	return r, nil
}

func (p *machineProcess) size() (int64, error) {
	cfg := p.host.cfg
	scope := cfg.Scope
	switch {
	case cfg.Match == "" && scope == proc.ScopeCgroup:
		return cgroup.WorkingSet(p.ID().PID)
	case cfg.hasSeveral():
		scope = proc.ScopeProcess
	}
	measure := Measures[cfg.Measure]
	usage, err := p.host.scan.Usage(p.Process, scope, measure)
	return measure.Sum(usage), err
}

func (p *machineProcess) readTitle(r *reading, notes *BootNotes) {
	h := p.host
	var err error
	if h.text, err = p.AppendFile(h.text[:0], "cmdline"); err != nil {
		return
	}
	if _, err := sidekiq.ParseTitle(h.text); err != sidekiq.ErrNoTitle {
		r.titled = true
		return
	}
	notes.noteArgv(h.text)
	if h.text, err = p.AppendFile(h.text[:0], "environ"); err == nil {
		notes.noteEnviron(h.text)
	}
	h.text, err = p.AppendFile(h.text[:0], "comm")
	r.booting = err == nil && string(h.text) == "sidekiq\n"
}

func (p *machineProcess) Available() (int64, error) { return cgroup.Available(p.ID().PID) }

func (p *machineProcess) Quiet() (quiet, idle bool) {
	busy, err := sidekiq.NewWatch(p.Process).Now()
	return err == nil && busy.Stopping, err == nil && busy.Idle
}

// Frozen reads cgroup.freeze of v2 or freezer.state of v1, which docker pause
// writes.
func (p *machineProcess) Frozen() bool { return cgroup.Frozen(p.ID().PID) }

// Start starts prog in a session of its own: it goes on if gracewatch ends. Its
// pidfd comes from clone(2), so that there is no moment in which it could be
// missed.
func (h *host) Start(argv, environ []string) (running, error) {
	pidfd := -1
	cmd := &exec.Cmd{Path: argv[0], Args: argv[1:], Env: append(proc.WithoutMark(os.Environ()), environ...), Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}}
	if err := h.oomScore.start(cmd.Start); err != nil {
		return nil, err
	}
	if pidfd < 0 { // a prog that could not be watched is not run
		cmd.Process.Kill()
		cmd.Wait()
		return nil, errors.New("no pidfd from clone (Linux 5.4 or later is needed)")
	}
	c := &childProg{cmd: cmd, pidfd: pidfd}
	if p, err := proc.Open(cmd.Process.Pid); err == nil { // not reaped, it keeps its pid: this is it, or it has ended
		c.id = p.ID
		p.Close()
	}
	return c, nil
}

// childProg is a prog that this gracewatch started.
type childProg struct {
	cmd   *exec.Cmd
	pidfd int
	id    proc.ID
}

func (c *childProg) ID() proc.ID         { return c.id }
func (c *childProg) PollFd() unix.PollFd { return unix.PollFd{Fd: int32(c.pidfd), Events: unix.POLLIN} }

func (c *childProg) Ended() bool {
	n, err := proc.Poll([]unix.PollFd{c.PollFd()}, 0)
	return err == nil && n > 0
}

// SignalGroup signals the group that it leads, which is its own as long as it was
// not reaped.
func (c *childProg) SignalGroup(sig unix.Signal) error { return unix.Kill(-c.cmd.Process.Pid, sig) }

func (c *childProg) Reap() exit {
	c.cmd.Wait()
	unix.Close(c.pidfd)
	state := c.cmd.ProcessState
	return exit{known: true, code: state.ExitCode(), text: state.String()}
}

// Resume opens the prog that was noted for the restart of a process. One that was
// started and not noted any more, because gracewatch was killed just then, shows
// in its environment whom it restarts.
func (h *host) Resume(target proc.ID, noted string) running {
	if id, err := proc.ParseID(noted); err == nil {
		if prog, err := proc.OpenID(id); err == nil {
			return &foundProg{prog}
		}
		return nil
	}
	leaders, _ := h.scan.SessionLeaders()
	for _, leader := range leaders {
		prog, err := proc.OpenID(leader.ID())
		if err != nil {
			continue
		}
		environ, _ := prog.ReadFile("environ")
		// Anybody may have such an environment: only this user's programs are its own.
		user, err := prog.Status()
		if err == nil && user.UID == os.Getuid() && strings.Contains("\x00"+string(environ), "\x00GRACE_TARGET="+target.String()+"\x00") {
			return &foundProg{prog}
		}
		prog.Close()
	}
	return nil
}

// foundProg is a prog that an earlier gracewatch started. How it ends is not
// known.
type foundProg struct{ *proc.Process }

func (f *foundProg) ID() proc.ID { return f.Process.ID }

// SignalGroup signals its group in one step where the kernel can (6.9), else by
// its number, which no other group can have while its leader was not reaped.
func (f *foundProg) SignalGroup(sig unix.Signal) error {
	err := f.Process.SignalGroup(sig)
	if errors.Is(err, proc.ErrNoGroupSignal) && !f.Ended() {
		err = unix.Kill(-f.ID().PID, sig)
	}
	return err
}

func (f *foundProg) Reap() exit {
	f.Close()
	return exit{}
}

// LargestBelow is the largest process below the target; none while a Sidekiq boots
// there.
func (h *host) LargestBelow(target process) (id proc.ID, kb int64) {
	real := target.(*machineProcess).Process
	if h.lister.IsBooting(real) {
		return proc.ID{}, 0
	}
	h.scan.Walk(real, func(p *proc.Process, s proc.Stat) {
		if usage, err := p.Memory(proc.RSS); err == nil && usage.RSS > kb {
			id, kb = s.ID(), usage.RSS
		}
	})
	return id, kb
}
