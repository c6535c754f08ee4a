package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/grace"
	"gracekit/lib/proc"
	"gracekit/lib/service"
)

// record is what the state file says: enough for the next gracewatch to go on.
type record struct {
	boot       string // times mean nothing in another
	target     string
	soft, hard string // with other limits the streak means nothing
	paused     bool
	streak     grace.Backoff
	wards      []wardRecord
}

type wardRecord struct {
	id     string
	kb     int64
	prog   string // the identity of a prog that runs; - for none
	tooLow bool
	state  grace.State
}

// ahead tells whether something has happened later than now: what is counted
// from then would wait for ever.
func (r record) ahead(now time.Duration) bool {
	return r.streak.Last > now || slices.ContainsFunc(r.wards, func(d wardRecord) bool {
		return d.state.Since > now || d.state.HardSince > now
	})
}

// mostState is the length of the longest state file, in bytes; that of 500
// children is a quarter of it.
const mostState = 1 << 20

// stateFile is where a gracewatch notes what it is doing.
type stateFile struct {
	path  string
	boot  string
	lock  *os.File
	dirty bool
	told  string // why it could not be written
}

// open takes the file for this gracewatch: two for one target would restart it
// twice. A dry run only reads it, and leaves it to the one that restarts.
func (f *stateFile) open(path string, dryRun bool) (err error) {
	if f.boot, err = proc.Boot(); err != nil {
		return err
	}
	if f.path = path; dryRun {
		return nil
	}
	return f.take()
}

// take takes the lock beside the file, which it may have already; but for that
// one the directory may have been deleted and made anew.
func (f *stateFile) take() error {
	name := f.path + ".lock"
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	lock := os.NewFile(uintptr(fd), name)
	if f.holds(lock) {
		return lock.Close()
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return fmt.Errorf("%s: %w", f.path, errLocked)
	}
	f.close()
	f.lock = lock
	return nil
}

func (f *stateFile) holds(lock *os.File) bool {
	if f.lock == nil {
		return false
	}
	have, err := f.lock.Stat()
	is, errIs := lock.Stat()
	return err == nil && errIs == nil && os.SameFile(have, is)
}

// write replaces the file as a whole.
func (f *stateFile) write(text string) error {
	if err := f.take(); err != nil {
		return err
	}
	return service.WriteFile(f.path, []byte(text), 0o600)
}

var errLocked = errors.New("another gracewatch has it")

func (f *stateFile) close() {
	if f.lock != nil {
		f.lock.Close()
	}
}

// load reads what the last gracewatch noted. The error says why it is of no use.
func (f *stateFile) load(o options) (r record, err error) {
	text, err := service.ReadFile(f.path, mostState)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		r, err = parseRecord(string(text))
	}
	switch {
	case err != nil:
	case r.boot != f.boot:
		err = errors.New("it is from another boot")
	case r.ahead(proc.Now()):
		err = errors.New("its times are still to come (another time namespace?)")
	case r.target != o.target.Text:
		err = fmt.Errorf("it is of another target, %q", r.target)
	}
	if err != nil {
		return record{}, err
	}
	return r, nil
}

// open reads the state file, if there is one. The error ends the program.
func (w *watch) openState() error {
	if w.o.state == "" {
		return nil
	}
	err := w.file.open(w.o.state, w.o.dryRun)
	if errors.Is(err, errLocked) {
		return err
	}
	if err != nil { // for now: its disk may be full
		w.file.told = err.Error()
		w.cmd.Error("no state is kept: %v", err)
	}
	if w.resume, err = w.file.load(w.o); err != nil {
		w.cmd.Warn("%s: started afresh: %v", w.o.state, err)
	}
	w.paused = w.resume.paused && w.o.control != ""
	if w.resume.paused && !w.paused {
		w.cmd.Warn("%s: it was paused, and goes on: without --control nobody could tell it to", w.o.state)
	}
	if w.resume.limitsOf(w.o) {
		w.streak = w.resume.streak
	} else {
		w.resume.forgive(w.o.legacy)
	}
	w.file.dirty = true
	return nil
}

func (r *record) limitsOf(o options) bool {
	return r.soft == o.soft.String() && r.hard == o.hard.String()
}

// forgive lets no process wait any more for a limit that was too low, and ends a
// legacy timer, for which there is no other way back, that is of another limit.
func (r *record) forgive(legacy bool) {
	for i := range r.wards {
		p := &r.wards[i]
		if p.tooLow {
			p.tooLow, p.state.NotBefore = false, 0
		}
		if legacy && !p.state.Restarting && !p.state.Committed {
			p.state = grace.State{}
		}
	}
}

// goOn gives a process the timer that the last gracewatch noted for it, and
// takes up a restart that was under way.
func (w *watch) goOn(d *ward) {
	i := slices.IndexFunc(w.resume.wards, func(r wardRecord) bool { return r.id == d.process.ID.String() })
	if i < 0 {
		return
	}
	noted := w.resume.wards[i]
	w.resume.wards = slices.Delete(w.resume.wards, i, i+1)
	d.state, d.kb, d.tooLow = noted.state, noted.kb, noted.tooLow
	if !d.state.Restarting {
		return
	}
	if w.restart == nil && !w.o.dryRun {
		if prog := progOf(d.process.ID, noted.prog); prog != nil {
			w.restart = &restart{ward: d, prog: prog, deadline: never}
			w.limit(w.restart)
			return
		}
	}
	d.state = d.state.Again()
}

// progOf opens the prog that was noted for the restart of a process; nil if it
// has ended. One that was started and not noted any more, for gracewatch was
// killed just then, has told its environment whom it restarts.
func progOf(target proc.ID, noted string) *proc.Process {
	if id, err := proc.ParseID(noted); err == nil {
		prog, _ := proc.OpenID(id)
		return prog
	}
	scan := proc.NewScanner()
	defer scan.Close()
	leaders, _ := scan.SessionLeaders()
	for _, leader := range leaders {
		prog, err := proc.OpenID(leader.ID())
		if err != nil {
			continue
		}
		environ, _ := prog.ReadFile("environ")
		// Anybody may have such an environment: only this user's programs are its own.
		user, err := prog.Status()
		if err == nil && user.UID == os.Getuid() && strings.Contains("\x00"+string(environ), "\x00GRACE_TARGET="+target.String()+"\x00") {
			return prog
		}
		prog.Close()
	}
	return nil
}

// strangers says what became of processes that the file is of, and that are
// gone: a restart came to its end while no gracewatch was there, or it is told
// once that nothing of the file is of use.
func (w *watch) strangers() {
	told := false
	var alive []wardRecord
	for _, noted := range w.resume.wards {
		id, err := proc.ParseID(noted.id)
		switch {
		case err == nil && w.o.scope == proc.ScopeChildren && lives(id): // a child that was not to be had now: it is met later
			alive = append(alive, noted)
		case err == nil && noted.state.Restarting:
			d := &ward{process: &proc.Process{ID: id}, state: noted.state, kb: noted.kb}
			w.say(d, slog.LevelInfo, "restart-done", slog.String("reason", string(noted.state.Reason)))
			w.done(d, proc.Now())
		case !told:
			told = true
			w.cmd.Warn("%s: started afresh: it is of another process, %s", w.o.state, noted.id)
		}
	}
	w.resume = record{wards: alive}
}

// lives tells whether a process has not ended, as far as can be known.
func lives(id proc.ID) bool {
	p, err := proc.OpenID(id)
	if err == nil {
		p.Close()
	}
	return !errors.Is(err, proc.ErrGone)
}

// save writes the state if it has changed. That it can't is said once: the
// watching goes on without.
func (w *watch) save() {
	if w.file.path == "" || w.o.dryRun || !w.file.dirty {
		return
	}
	w.file.dirty = false
	r := record{boot: w.file.boot, target: w.o.target.Text, soft: w.o.soft.String(), hard: w.o.hard.String(),
		paused: w.paused, streak: w.streak, wards: slices.Clone(w.resume.wards)}
	for _, d := range w.wards {
		if d.state == (grace.State{}) {
			continue
		}
		noted := wardRecord{id: d.process.ID.String(), kb: d.kb, prog: "-", tooLow: d.tooLow, state: d.state}
		if w.restart != nil && w.restart.ward == d && w.restart.prog != nil {
			noted.prog = w.restart.prog.ID.String()
		}
		r.wards = append(r.wards, noted)
	}
	err := w.file.write(r.text())
	why := ""
	if err != nil {
		why = err.Error()
		w.file.dirty = true // with the next check that changes something, or the next event
	}
	if why != "" && w.file.told == "" {
		w.cmd.Error("the state is not kept: %v", err)
	}
	w.file.told = why
}
