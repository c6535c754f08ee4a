package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"gracekit/lib/units"
)

// policy is what the settings say of a restart.
type policy struct {
	minPeers         int
	privateQueues    []string
	longWorkers      globs
	hardWithoutPeers bool
	poisonAfter      int
	grace            time.Duration
	wait, timeout    units.Duration // for jobs; the worker's own -t

	hard   bool          // the restart is for the hard limit
	over   time.Duration // how long it has been over a limit
	reason string        // of gracewatch; empty: by hand
}

// setting is the value of a variable, by GitLab's name or that for other workers.
func setting(name string) string {
	if value := os.Getenv("SIDEKIQ_MEMORY_KILLER_" + name); value != "" {
		return value
	}
	return os.Getenv("MEMORY_KILLER_" + name)
}

func readPolicy(peers int) (p policy, err error) {
	p = policy{minPeers: peers, grace: 15 * time.Minute, wait: units.Duration(30 * time.Second), timeout: units.Duration(25 * time.Second)}
	var errs []error
	read := func(name, text string, parse func(text string) error) {
		if text == "" {
			return
		}
		if err := parse(text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	number := func(to *int) func(string) error {
		return func(text string) (err error) { *to, err = parseCount(text); return err }
	}
	read("SIDEKIQ_MEMORY_KILLER_MIN_PEERS", setting("MIN_PEERS"), number(&p.minPeers))
	read("POISON_AFTER", os.Getenv("POISON_AFTER"), number(&p.poisonAfter))
	read("LONG_WORKERS", os.Getenv("LONG_WORKERS"), p.longWorkers.add)
	read("SIDEKIQ_MEMORY_KILLER_HARD_WITHOUT_PEERS", setting("HARD_WITHOUT_PEERS"), func(text string) error {
		p.hardWithoutPeers = text == "1"
		if text != "0" && text != "1" {
			return fmt.Errorf("invalid value %q (want 0 or 1)", text)
		}
		return nil
	})
	read("SIDEKIQ_MEMORY_KILLER_GRACE_TIME", setting("GRACE_TIME"), func(text string) error {
		d, err := units.ParseDuration(text)
		p.grace = d.Std()
		return err
	})
	if text := os.Getenv("SHUTDOWN_WAIT"); text != "" {
		read("SHUTDOWN_WAIT", text, p.wait.Set)
	} else {
		read("SIDEKIQ_MEMORY_KILLER_SHUTDOWN_WAIT", setting("SHUTDOWN_WAIT"), p.wait.Set)
	}
	read("SIDEKIQ_TIMEOUT", os.Getenv("SIDEKIQ_TIMEOUT"), p.timeout.Set)
	p.privateQueues, err = privateQueues()
	p.reason = os.Getenv("GRACE_REASON")
	p.hard = p.reason == "hard"
	seconds, _ := strconv.ParseInt(os.Getenv("GRACE_OVER_SECONDS"), 10, 32)
	p.over = time.Duration(seconds) * time.Second
	return p, errors.Join(append(errs, err)...)
}

func privateQueues() ([]string, error) {
	list := strings.FieldsFunc(setting("PRIVATE_QUEUES"), func(r rune) bool { return strings.ContainsRune(" ,\t\n", r) })
	for _, glob := range list {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("SIDEKIQ_MEMORY_KILLER_PRIVATE_QUEUES: invalid pattern %q (want alive-*)", glob)
		}
	}
	return list, nil
}
