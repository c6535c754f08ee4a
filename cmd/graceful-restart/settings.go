package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/restart"
	"gracekit/lib/schedule"
	"gracekit/lib/settings"
	"gracekit/lib/units"
)

// setting is one of those that a restart reads.
type setting struct {
	variable string // in the table of settings
	option   string // "": none
	word     string // what the option wants, in messages
	copy     func(to, from *settings.Values)
	show     func(*settings.Values) string
}

const (
	timeoutVariable = "SIDEKIQ_TIMEOUT"
	argvTimeout     = "-t" // the same in a command line
	quietVariable   = "QUIET_SIGNAL"
)

// workerSettings may be different for each worker.
var workerSettings = []setting{
	{"SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", "--wait", "DURATION",
		func(to, from *settings.Values) { to.ShutdownWait = from.ShutdownWait },
		func(v *settings.Values) string { return v.ShutdownWait.String() }},
	{timeoutVariable, "--timeout", "DURATION",
		func(to, from *settings.Values) { to.Timeout = from.Timeout },
		func(v *settings.Values) string { return v.Timeout.String() }},
	{quietVariable, "--quiet", "SIGNAL",
		func(to, from *settings.Values) { to.Quiet = from.Quiet },
		func(v *settings.Values) string { return showSignal(v.Quiet) }},
	{"STOP_SIGNAL", "--stop", "SIGNAL",
		func(to, from *settings.Values) { to.Stop = from.Stop },
		func(v *settings.Values) string { return showSignal(v.Stop) }},
}

// killerSettings belong to memory-killer, which leaves them in our environment.
var killerSettings = []setting{
	{variable: "MEMORY_KILLER_RESTART", copy: func(to, from *settings.Values) { to.Restart = from.Restart }},
	{variable: "MEMORY_KILLER_MEASURE", copy: func(to, from *settings.Values) { to.Measure = from.Measure }},
	{variable: "MEMORY_KILLER_SCOPE", copy: func(to, from *settings.Values) { to.Scope = from.Scope }},
}

func showSignal(sig unix.Signal) string {
	if sig == 0 {
		return "none"
	}
	return schedule.Name(sig)
}

// source is a place where settings may be found.
type source struct {
	name   string // for messages
	lookup func(variable string) (text string, found bool)
}

// values are those that were found, and where.
type values struct {
	settings.Values
	from map[string]string // by the variable in the table
}

// set parses a value. The error does not name the setting.
func (v *values) set(s setting, text, from string) error {
	parsed, err := settings.Parse(s.variable, text)
	if err != nil {
		return errors.Unwrap(err)
	}
	s.copy(&v.Values, parsed)
	v.from[s.variable] = from
	return nil
}

// take sets a value to that of others.
func (v *values) take(s setting, others *values) {
	s.copy(&v.Values, &others.Values)
	v.from[s.variable] = others.from[s.variable]
}

// read sets a value to what a source has, if it has one.
func (v *values) read(s setting, from source) error {
	found, err := settings.Find(s.variable, from.lookup)
	if text, given := from.lookup(argvTimeout); given && s.variable == timeoutVariable {
		found = settings.Source{Variable: argvTimeout, Text: text}
	}
	if err != nil || found.Variable == "" {
		return err
	}
	if err := v.set(s, found.Text, found.Variable+" in "+from.name); err != nil {
		return fmt.Errorf("%s: %w", found.Variable, err)
	}
	return nil
}

// addOptions adds the option of each setting that has one.
func (v *values) addOptions(cmd *cli.Command) {
	for _, s := range workerSettings {
		cmd.Func(strings.TrimPrefix(s.option, "--"), "", s.word, func(text string) error { return v.set(s, text, s.option) })
	}
}

// readEnvironment fills in from our own environment what no option has. A wrong
// value there is refused.
func (v *values) readEnvironment() error {
	environment := source{"the environment", os.LookupEnv}
	for _, s := range slices.Concat(workerSettings, killerSettings) {
		found := &values{from: map[string]string{}}
		if err := found.read(s, environment); err != nil {
			return err
		}
		if v.from[s.variable] == "" {
			v.take(s, found)
		}
	}
	return nil
}

const (
	defaultWait    = units.Duration(30e9)
	defaultTimeout = units.Duration(25e9)
)

// finder finds the values of each worker.
type finder struct {
	cmd       *cli.Command
	verbose   bool
	own       *values // of the options and our own environment: they count for all workers
	place     place
	noTimeout bool            // the warning about the timeout was given
	unread    map[string]bool // warnings about files of conf/ that were given
}

// values are those of one worker.
func (f *finder) values(worker *proc.Process) restart.Values {
	v := &values{from: map[string]string{}, Values: settings.Values{
		ShutdownWait: defaultWait, Timeout: defaultTimeout, Quiet: unix.SIGTSTP, Stop: unix.SIGTERM}}
	sources := f.sources(worker)
	for _, s := range workerSettings {
		f.resolve(v, s, sources)
		if f.verbose {
			f.cmd.Info("%v: %s %s (%s)", worker.ID, s.option, s.show(&v.Values), cmp.Or(v.from[s.variable], "the default"))
		}
	}
	if v.from[timeoutVariable] == "" && !f.noTimeout {
		f.noTimeout = true
		f.cmd.Warn("cannot find the timeout of %v (no SIDEKIQ_TIMEOUT, and no -t that is still visible): assuming %v, KILL comes %v after the stop signal",
			worker.ID, defaultTimeout, 2*defaultTimeout)
	}
	return restart.Values{Wait: v.ShutdownWait, Timeout: v.Timeout, Quiet: v.Quiet, Stop: v.Stop, QuietIsSet: v.from[quietVariable] != ""}
}

// resolve sets a value to our own, else to that of the first source that has a
// valid one.
func (f *finder) resolve(v *values, s setting, sources []source) {
	if f.own.from[s.variable] != "" {
		v.take(s, f.own)
		return
	}
	for i := 0; i < len(sources) && v.from[s.variable] == ""; i++ {
		if err := v.read(s, sources[i]); err != nil {
			f.cmd.Warn("ignored: %s: %v", sources[i].name, err)
		}
	}
}
