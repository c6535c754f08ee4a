package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/restart"
	"gracekit/lib/schedule"
	"gracekit/lib/settings"
	"gracekit/lib/units"
)

// setting is one that belongs to a worker.
type setting[T any] struct {
	variable string // in the table of settings
	option   string
	value    func(*settings.Values) T
	show     func(T) string
}

var (
	waitSetting = setting[units.Duration]{"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "--wait",
		func(v *settings.Values) units.Duration { return v.ShutdownWait }, units.Duration.String}
	timeoutSetting = setting[units.Duration]{timeoutVariable, "--timeout",
		func(v *settings.Values) units.Duration { return v.Timeout }, units.Duration.String}
	quietSetting = setting[unix.Signal]{"QUIET_SIGNAL", "--quiet",
		func(v *settings.Values) unix.Signal { return v.Quiet }, showSignal}
	stopSetting = setting[unix.Signal]{"STOP_SIGNAL", "--stop",
		func(v *settings.Values) unix.Signal { return v.Stop }, showSignal}
)

// These belong to memory-killer, which leaves them in our environment.
var (
	restartSetting = setting[string]{variable: "MEMORY_KILLER_RESTART", value: func(v *settings.Values) string { return v.Restart }}
	measureSetting = setting[string]{variable: "MEMORY_KILLER_MEASURE", value: func(v *settings.Values) string { return v.Measure }}
	scopeSetting   = setting[string]{variable: "MEMORY_KILLER_SCOPE", value: func(v *settings.Values) string { return v.Scope }}
)

const (
	timeoutVariable = "SIDEKIQ_TIMEOUT"
	argvTimeout     = "-t" // the same in a command line
)

// parse reads a value as the setting has it. The error does not name the setting.
func (s setting[T]) parse(text string) (value T, err error) {
	v, err := settings.Parse(s.variable, text)
	if err != nil {
		return value, errors.Unwrap(err)
	}
	return s.value(v), nil
}

func showSignal(sig unix.Signal) string {
	if sig == 0 {
		return "none"
	}
	return schedule.Name(sig)
}

const (
	defaultWait    = units.Duration(30e9)
	defaultTimeout = units.Duration(25e9)
)

// source is a place where settings of a worker may be found.
type source struct {
	name   string // for messages
	lookup func(variable string) (text string, found bool)
}

// given is a value that an option or our own environment has.
type given[T any] struct {
	value T
	from  string // "": neither has it
}

// own are those values. They count for all workers, and a wrong one is refused.
type own struct {
	wait, timeout           given[units.Duration]
	quiet, stop             given[unix.Signal]
	restart, measure, scope given[string]
}

// finder finds the values of each worker.
type finder struct {
	cmd       *cli.Command
	verbose   bool
	own       own
	place     place
	noTimeout bool            // the warning about the timeout was given
	unread    map[string]bool // warnings about files of conf/ that were given
}

// values are those of one worker.
func (f *finder) values(worker *proc.Process) restart.Values {
	sources := f.sources(worker)
	v := restart.Values{Wait: defaultWait, Timeout: defaultTimeout, Quiet: unix.SIGTSTP, Stop: unix.SIGTERM}
	resolve(f, worker, waitSetting, f.own.wait, sources, &v.Wait)
	if !resolve(f, worker, timeoutSetting, f.own.timeout, sources, &v.Timeout) && !f.noTimeout {
		f.noTimeout = true
		f.cmd.Warn("cannot find the timeout of %v (no SIDEKIQ_TIMEOUT, and no -t that is still visible): assuming %v, KILL comes %v after the stop signal",
			worker.ID, defaultTimeout, 2*defaultTimeout)
	}
	v.QuietIsSet = resolve(f, worker, quietSetting, f.own.quiet, sources, &v.Quiet)
	resolve(f, worker, stopSetting, f.own.stop, sources, &v.Stop)
	return v
}

// resolve sets value to that of the first source that has a valid one.
func resolve[T any](f *finder, worker *proc.Process, s setting[T], own given[T], sources []source, value *T) bool {
	from := own.from
	if from != "" {
		*value = own.value
	}
	for i := 0; i < len(sources) && from == ""; i++ {
		v, name, err := s.find(sources[i].lookup)
		switch {
		case err != nil:
			f.cmd.Warn("ignored: %s: %v", sources[i].name, err)
		case name != "":
			*value, from = v, name+" in "+sources[i].name
		}
	}
	if f.verbose {
		shown := from
		if shown == "" {
			shown = "the default"
		}
		f.cmd.Info("%v: %s %s (%s)", worker.ID, s.option, s.show(*value), shown)
	}
	return from != ""
}

// find reads the setting in one source. The name is that of the variable it is from; "" if there is none.
func (s setting[T]) find(lookup func(string) (string, bool)) (value T, name string, err error) {
	source, err := settings.Find(s.variable, lookup)
	if err != nil {
		return value, "", err
	}
	if text, found := lookup(argvTimeout); found && s.variable == timeoutVariable {
		source = settings.Source{Variable: argvTimeout, Text: text}
	}
	if source.Variable == "" {
		return value, "", nil
	}
	value, err = s.parse(source.Text)
	if err != nil {
		err = fmt.Errorf("%s: %w", source.Variable, err)
	}
	return value, source.Variable, err
}

// environment reads the value from our own environment.
func (s setting[T]) environment() (given[T], error) {
	value, name, err := s.find(os.LookupEnv)
	if err != nil || name == "" {
		return given[T]{}, err
	}
	return given[T]{value, name + " in the environment"}, nil
}

// flag adds the option.
func (s setting[T]) flag(cmd *cli.Command, to *given[T], word string) {
	cmd.Func(strings.TrimPrefix(s.option, "--"), "", word, func(text string) (err error) {
		to.value, err = s.parse(text)
		to.from = s.option
		return err
	})
}

// readEnvironment fills in what no option has.
func (o *own) readEnvironment() error {
	return cmp.Or(fill(&o.wait, waitSetting), fill(&o.timeout, timeoutSetting), fill(&o.quiet, quietSetting), fill(&o.stop, stopSetting),
		fill(&o.restart, restartSetting), fill(&o.measure, measureSetting), fill(&o.scope, scopeSetting))
}

func fill[T any](to *given[T], s setting[T]) error {
	env, err := s.environment()
	if to.from == "" {
		*to = env
	}
	return err
}
