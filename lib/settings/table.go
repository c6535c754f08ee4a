// Package settings is the one table of the memory killer's settings: their
// names, GitLab's units, defaults and meanings. Programs read the environment by
// it, and the documentation is made from it.
package settings

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/units"
)

// Setting is one environment variable.
type Setting struct {
	Name    string   // the variable, as GitLab has it
	Others  []string // further names of it; two of them that contradict each other are an error
	Before  string   // a variable that goes before all of these; empty: none
	Kind    string   // what a value is, for people
	Default string   // as it would be written; empty: none
	Meaning string   // a sentence for an operator
	set     func(v *Values, text string) error
}

// Values are the settings by their types.
type Values struct {
	Daemon           bool // false: legacy mode
	Soft, Hard       units.Size
	Interval         units.Duration
	Grace            units.Duration
	ShutdownWait     units.Duration
	Timeout          units.Duration // 0: not set
	MinPeers         int
	PrivateQueues    []string // patterns
	HardWithoutPeers bool
	LongWorkers      []string // patterns of classes
	PoisonAfter      int
	Quiet, Stop      unix.Signal // Quiet 0: none
	Scope            string
	Match            string
	Measure          string
	MaxAge           units.Duration // 0: none
	Restart          string         // service or worker
	Notify           string
	Control          string // empty: the default of the mode
	ControlGroup     string
	State            string
	RedisURL         string // as REDIS_URL, or what REDIS_PROVIDER names, has it
	sources          map[string]Source
}

// Source is where a value came from.
type Source struct {
	Variable string // empty: the default
	Text     string // as it was written
}

// gitlab is a setting that GitLab has, which workers that are not Sidekiq name
// without SIDEKIQ_.
func gitlab(name, kind, byDefault, meaning string, set func(v *Values, text string) error) Setting {
	return Setting{Name: "SIDEKIQ_MEMORY_KILLER_" + name, Others: []string{"MEMORY_KILLER_" + name},
		Kind: kind, Default: byDefault, Meaning: meaning, set: set}
}

// before is a setting with a variable that goes before its names.
func before(name string, s Setting) Setting {
	s.Before = name
	return s
}

// other is a setting with one name.
func other(name, kind, byDefault, meaning string, set func(v *Values, text string) error) Setting {
	return Setting{Name: name, Kind: kind, Default: byDefault, Meaning: meaning, set: set}
}

const (
	sizeKind     = "size: KB, or 1500M, 2G, 80%"
	durationKind = "duration: seconds, or 500ms, 90s, 15m, inf"
	countKind    = "a whole number"
	flagKind     = "0 or 1"
	patternsKind = "patterns, separated by blanks or commas"
	signalKind   = "signal"
)

// Table is all settings, in the order in which the documentation has them.
var Table = []Setting{
	other("SIDEKIQ_DAEMON_MEMORY_KILLER", flagKind, "0",
		"1: daemon mode, a check each interval. 0: legacy mode, a check after each job by the job hook, which cannot be undone; "+
			"until the hook has been heard, and whenever it has been silent for 10 minutes, the size is checked each interval as well.",
		func(v *Values, text string) error { return flag(&v.Daemon, text) }),
	gitlab("MAX_RSS", sizeKind, "", "The soft limit: a worker that has been over it for longer than the grace time is restarted. 0: none.",
		func(v *Values, text string) error { return v.Soft.Set(text) }),
	gitlab("HARD_LIMIT_RSS", sizeKind, "", "The hard limit, in both modes: a worker that is over it is restarted at once. 0: none.",
		func(v *Values, text string) error { return v.Hard.Set(text) }),
	gitlab("CHECK_INTERVAL", durationKind, "3", "The time between two checks.",
		func(v *Values, text string) error { return interval(&v.Interval, text) }),
	gitlab("GRACE_TIME", durationKind, "900", "How long a worker may stay over the soft limit.",
		func(v *Values, text string) error { return v.Grace.Set(text) }),
	before("SHUTDOWN_WAIT", gitlab("SHUTDOWN_WAIT", durationKind, "30",
		"How long a soft restart waits for running jobs after the quiet signal; it ends early when the jobs have. 0: the stop signal at once.",
		func(v *Values, text string) error { return v.ShutdownWait.Set(text) })),
	other("SIDEKIQ_TIMEOUT", durationKind, "",
		"The worker's own -t; KILL comes at twice that after TERM. Whole seconds where sidekiq-run or background_jobs starts Sidekiq, which takes no other. "+
			"Default: what the worker was started with, else 25.",
		func(v *Values, text string) error { return positive(&v.Timeout, text) }),
	gitlab("MIN_PEERS", countKind, "0", "How many other instances must be available before a restart. 0: any number.",
		func(v *Values, text string) error { return count(&v.MinPeers, text) }),
	gitlab("PRIVATE_QUEUES", patternsKind, "", "Queues that no other instance has to serve during a restart. A queue that has the instance's own hostname in its name is always one of them.",
		func(v *Values, text string) error { return patterns(&v.PrivateQueues, text) }),
	gitlab("HARD_WITHOUT_PEERS", flagKind, "0",
		"1: over the hard limit a worker is restarted without asking Redis. 0: Redis is asked, but a restart waits for other instances no longer than the grace time.",
		func(v *Values, text string) error { return flag(&v.HardWithoutPeers, text) }),
	other("LONG_WORKERS", patternsKind, "", "Classes of jobs that a soft restart waits for, however long they run.",
		func(v *Values, text string) error { return patterns(&v.LongWorkers, text) }),
	other("POISON_AFTER", countKind, "0",
		"After how many hard restarts in a row a job that was the only one to run is moved to the dead set. 0: it is only logged.",
		func(v *Values, text string) error { return count(&v.PoisonAfter, text) }),
	other("QUIET_SIGNAL", signalKind, "TSTP", "The signal that tells a worker to take no more jobs. Set but empty: none.",
		func(v *Values, text string) error { return signal(&v.Quiet, text) }),
	other("STOP_SIGNAL", signalKind, "TERM", "The signal that stops a worker gracefully; QUIT for unicorn and Resque.",
		func(v *Values, text string) error { return required(&v.Stop, text) }),
	other("MEMORY_KILLER_SCOPE", "sidekiq, process, group, tree, children or cgroup", "sidekiq",
		"What is measured: each Sidekiq below the target, the target alone, its process group, its tree, each child, or its cgroup.",
		func(v *Values, text string) error {
			return choice(&v.Scope, text, "sidekiq", "process", "group", "tree", "children", "cgroup")
		}),
	other("MEMORY_KILLER_MATCH", "a pattern", "", "Each process of the target's tree whose title or name matches is watched, instead of those of a scope.",
		func(v *Values, text string) error { return pattern(&v.Match, text) }),
	other("MEMORY_KILLER_MEASURE", "rss, pss, uss, anon or rss+swap", "rss", "The kind of memory that is measured.",
		func(v *Values, text string) error {
			return choice(&v.Measure, text, "rss", "pss", "uss", "anon", "rss+swap")
		}),
	other("MEMORY_KILLER_MAX_AGE", durationKind, "", "Workers that are older are restarted, too. Up to a tenth is added, a different part for each.",
		func(v *Values, text string) error { return positive(&v.MaxAge, text) }),
	other("MEMORY_KILLER_RESTART", "service or worker", "service",
		"With worker, one worker of several is restarted alone, for parents that replace their children (Puma, sidekiqswarm). With service, the whole service is.",
		func(v *Values, text string) error { return choice(&v.Restart, text, "service", "worker") }),
	other("MEMORY_KILLER_NOTIFY", "a program", "", "A program that is run for each warning, error and finished restart (gracewatch --notify).",
		func(v *Values, text string) error { v.Notify = text; return nil }),
	other("MEMORY_KILLER_CONTROL", "a path", "", "The FIFO that the job hook writes to. Default in legacy mode: /run/gracekit/SERVICE.control.",
		func(v *Values, text string) error { return absolute(&v.Control, text) }),
	other("MEMORY_KILLER_CONTROL_GROUP", "a group", "", "The group that may write that FIFO. Default: that of SIDEKIQ_USER.",
		func(v *Values, text string) error { v.ControlGroup = text; return nil }),
	other("MEMORY_KILLER_STATE", "a path", "", "The file in which the watcher keeps its state; its history is FILE.history. Default for a service: supervise/gracewatch in its directory.",
		func(v *Values, text string) error { v.State = text; return nil }),
	other("REDIS_URL", "a URL", "", "The Redis that all instances share, as for Sidekiq; REDIS_PROVIDER names another variable.",
		func(v *Values, text string) error { return redisURL(&v.RedisURL, text) }),
}

func flag(to *bool, text string) error {
	if text != "0" && text != "1" {
		return fmt.Errorf("invalid value %q (want 0 or 1)", text)
	}
	*to = text == "1"
	return nil
}

func count(to *int, text string) error {
	n, err := strconv.ParseUint(text, 10, 20)
	if err != nil {
		return fmt.Errorf("invalid number %q (want for example 0, 1 or 2)", text)
	}
	*to = int(n)
	return nil
}

// interval is a duration of at least 1ms, as for gracewatch.
func interval(to *units.Duration, text string) error {
	if err := to.Set(text); err != nil {
		return err
	}
	if *to < units.Duration(time.Millisecond) || *to == units.Never {
		return fmt.Errorf("invalid duration %q (want 3 or 500ms, at least 1ms)", text)
	}
	return nil
}

// positive is a duration above 0. With a timeout of 0 the worker would be killed
// at its stop signal, before it has given its jobs back.
func positive(to *units.Duration, text string) error {
	if err := to.Set(text); err != nil {
		return err
	}
	if *to == 0 {
		return fmt.Errorf("invalid duration %q (want 25 or 90s, more than 0)", text)
	}
	return nil
}

func choice(to *string, text string, choices ...string) error {
	for _, c := range choices {
		if text == c {
			*to = text
			return nil
		}
	}
	last := len(choices) - 1
	return fmt.Errorf("invalid value %q (want %s or %s)", text, strings.Join(choices[:last], ", "), choices[last])
}

func pattern(to *string, text string) error {
	if _, err := path.Match(text, ""); err != nil {
		return fmt.Errorf("invalid pattern %q (want for example puma: cluster worker*)", text)
	}
	*to = text
	return nil
}

// patterns are words, separated by blanks or commas.
func patterns(to *[]string, text string) error {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	for _, word := range words {
		if _, err := path.Match(word, ""); err != nil {
			return fmt.Errorf("invalid pattern %q (want for example Import*)", word)
		}
	}
	*to = words
	return nil
}

// signal is a name, with or without SIG, or a number; empty is none.
func signal(to *unix.Signal, text string) error {
	if text == "" {
		*to = 0
		return nil
	}
	return required(to, text)
}

// required is a signal that is not none.
func required(to *unix.Signal, text string) error {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil && n >= 1 && n <= 64 {
		*to = unix.Signal(n)
		return nil
	}
	*to = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG"))
	if *to == 0 {
		return fmt.Errorf("invalid signal %q (want for example TERM, SIGTERM or 15)", text)
	}
	return nil
}

func absolute(to *string, text string) error {
	if !strings.HasPrefix(text, "/") {
		return fmt.Errorf("invalid path %q (want an absolute path)", text)
	}
	*to = text
	return nil
}
