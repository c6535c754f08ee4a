package main

import (
	"os"
	"strconv"
	"time"

	"gracekit/lib/settings"
	"gracekit/lib/units"
)

// policy is what the settings, and gracewatch, say of a restart.
type policy struct {
	*settings.Values
	long   globs         // LongWorkers
	hard   bool          // the restart is for the hard limit
	over   time.Duration // how long it has been over a limit
	reason string        // of gracewatch; empty: by hand
}

func readPolicy() (p policy, err error) {
	p.Values, err = settings.Read(func(name string) (string, bool) {
		if name == "REDIS_URL" || name == "REDIS_PROVIDER" {
			return "", false // over the hard limit a wrong one may not matter; the fleet reads them
		}
		return os.LookupEnv(name)
	})
	if err != nil {
		return p, err
	}
	if p.Timeout == 0 {
		p.Timeout = units.Duration(25 * time.Second)
	}
	p.long = p.LongWorkers
	p.reason = os.Getenv("GRACE_REASON")
	p.hard = p.reason == "hard"
	seconds, _ := strconv.ParseInt(os.Getenv("GRACE_OVER_SECONDS"), 10, 32)
	p.over = time.Duration(seconds) * time.Second
	return p, nil
}
