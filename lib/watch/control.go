package watch

import (
	"time"

	"gracekit/lib/grace"
)

// handleCommands carries out commands, in order; x ends the watch. A check is made
// once, after all of them.
func (l *loop) handleCommands(letters []byte, hook bool) error {
	at := l.world.Now()
	l.silenceAt = grace.Never
	if hook {
		l.hookAt = at
	}
	if l.target == nil { // the service may have a new process, which is meant
		if err := l.searchTarget(at); err != nil {
			return err
		}
	}
	check := false
	for _, letter := range letters {
		switch letter {
		case 'c':
			check = true
		case 't':
			check = true
			l.requestRestart(at)
		case 'p':
			l.pause(true)
		case 'u':
			l.pause(false)
			check = true
		case 'x':
			return errDone
		}
	}
	switch {
	case !check || l.kept.Paused || l.target == nil || l.target.Ended():
		return nil
	case l.phase() != watching: // of the others
		l.checkAt = min(l.checkAt, at)
		return nil
	}
	return l.checkAll(at, true)
}

// requestRestart makes all that is watched due for a restart, one at a time.
func (l *loop) requestRestart(at time.Duration) {
	if l.target != nil && l.cfg.hasSeveral() {
		l.listInstances(at)
	}
	for _, d := range l.order {
		d.State = d.State.Requested()
	}
	l.dirty = true
}

// pause stops the checks, or resumes them.
func (l *loop) pause(paused bool) {
	if l.kept.Paused == paused {
		return
	}
	l.kept.Paused = paused
	if paused {
		l.event(Paused, nil)
		return
	}
	l.checkAt = l.world.Now()
	l.event(Resumed, nil)
}

// warnSilent logs once that no command has come where there is nothing else to
// check by.
func (l *loop) warnSilent(at time.Duration) {
	if at < l.silenceAt {
		return
	}
	l.silenceAt = grace.Never
	l.cfg.Messages.Warn("no command has come on %s for %v: is the job hook loaded?", l.cfg.Control, hookSilence.Round(time.Minute))
}

// hookSilence is how long nothing may come from a job hook before the clock checks
// in its place, or, where the clock does not, that is logged.
const hookSilence = 10 * time.Minute
