package restart

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gracekit/lib/schedule"
	"gracekit/lib/units"
)

// plan describes the steps, a line each.
func plan(sys system, c Config) ([]string, error) {
	r := &restart{Config: c, sys: sys}
	if err := r.begin(); err != nil {
		return nil, err
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, w := range r.workers {
		caught, err := w.Catches(w.config.Quiet)
		if err != nil {
			return nil, err
		}
		quiet := schedule.Name(w.config.Quiet)
		switch most := r.most(w); {
		case w.config.Quiet == 0, most == 0:
			add("no quiet signal to %v, and no wait for jobs", w)
		case !caught:
			add("no quiet signal to %v: it has no handler for %s, and is not waited for", w, quiet)
		case w.sidekiq:
			add("%s to %v, then wait %s for its jobs", quiet, w, upTo(most))
		case w.config.QuietIsSet:
			add("%s to %v, then wait %s for it to exit", quiet, w, upTo(most))
		case c.AskRedis != nil:
			add("%s to %v, then wait %s for what sidekiq-fleet says of its jobs", quiet, w, upTo(most))
		default:
			add("%s to %v: not a Sidekiq: not waiting for jobs", quiet, w)
		}
	}
	for _, w := range r.workers {
		stop := schedule.Name(w.config.Stop)
		if w.config.Timeout == units.Never {
			add("%s to %v, and no KILL", stop, w)
		} else {
			add("%s to %v, KILL after %v", stop, w, twice(w.config.Timeout))
		}
	}
	if target := sys.Target(); !r.has(target.ID()) {
		add("%s to %v when they have exited", schedule.Name(unix.SIGTERM), target)
	}
	add("TERM to all that is left of %v, KILL after %v", sys.Target(), cleanUpTime)
	return lines, nil
}
