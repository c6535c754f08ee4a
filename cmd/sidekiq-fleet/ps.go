package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/fleet"
	"gracekit/lib/units"
)

const psUsage = `usage: sidekiq-fleet ps [--over SIZE] [-j]

Print a line for each instance, as of its last heartbeat (at most 5 s old in
Sidekiq 6, 10 s from 7 on): IDENTITY BUSY CONCURRENCY RSS_KB STATE AGE QUEUES

      --over SIZE  only instances larger than that which are not dead, the
                   largest first
  -j, --json       a line of JSON for each: identity, busy, concurrency, rss_kb,
                   state, age_s, queues, quiet, beat_s (since the last
                   heartbeat), version, tag, embedded, claimed_by, claim_s
                   (until the claim expires)

STATE is running, quiet (takes no jobs), claimed (is being restarted) or dead
(no heartbeat for 60 s). AGE is in seconds, since it started. - is unknown.
SIZE is KB, or has a suffix: 1500M, 2G.
`

type description struct {
	Identity    string   `json:"identity"`
	Busy        *int     `json:"busy"` // null: unknown
	Concurrency *int     `json:"concurrency"`
	RSS         *int64   `json:"rss_kb"` // null: unknown
	State       string   `json:"state"`
	Age         *float64 `json:"age_s"` // null: unknown
	Queues      []string `json:"queues"`
	Quiet       bool     `json:"quiet"`
	Beat        *float64 `json:"beat_s"` // null: longer ago than Redis remembers
	Version     string   `json:"version"`
	Tag         string   `json:"tag"`
	Embedded    bool     `json:"embedded"`
	ClaimedBy   string   `json:"claimed_by,omitempty"`
	ClaimLeft   float64  `json:"claim_s,omitempty"`
}

func ps(above *command, args []string) error {
	c := above.named(psUsage)
	var over units.Size
	c.Var(&over, "over", "")
	asJSON := c.Bool("json", "j")
	if _, err := c.begin(args, 0, 0); err != nil {
		return err
	}
	defer c.fleet.Close()
	if err := checkOver(over); err != nil {
		return err
	}
	instances, err := c.fleet.All()
	if err != nil {
		return err
	}
	if len(instances) == 0 {
		c.Warn("there is no Sidekiq in %s (another database, or a --namespace?)", c.fleet.Where())
	}
	if c.Given("over") {
		instances = larger(instances, over.KB(0))
	}
	var out strings.Builder
	for i := range instances {
		out.WriteString(instanceLine(&instances[i], *asJSON))
	}
	return c.Write(out.String())
}

// checkOver refuses a share: the instances may be on machines of different sizes.
func checkOver(over units.Size) error {
	if over.IsShare() {
		return cli.Misusef("--over: invalid size \"%v\": the instances may be on different machines (want 1500M or 2G)", over)
	}
	return nil
}

// larger are the instances above that size in KB which are not dead, the largest first.
func larger(instances []fleet.Instance, kb int64) []fleet.Instance {
	instances = slices.DeleteFunc(instances, func(in fleet.Instance) bool { return in.State() == fleet.Dead || in.RSS <= kb })
	slices.SortStableFunc(instances, func(a, b fleet.Instance) int { return cmp.Compare(b.RSS, a.RSS) })
	return instances
}

func instanceLine(in *fleet.Instance, asJSON bool) string {
	if asJSON {
		d := description{Identity: in.Identity, State: string(in.State()), Queues: in.Queues, Quiet: in.Quiet,
			Version: in.Version, Tag: in.Tag, Embedded: in.Embedded, ClaimedBy: in.Claim.Holder, ClaimLeft: seconds(in.Claim.Left)}
		if in.Known {
			beat := seconds(in.SinceHeartbeat)
			d.Busy, d.Concurrency, d.Beat = &in.Busy, &in.Concurrency, &beat
		}
		if !in.Started.IsZero() {
			age := seconds(in.Age)
			d.Age = &age
		}
		if in.RSS > 0 {
			d.RSS = &in.RSS
		}
		return cli.JSONLine(d)
	}
	if !in.Known {
		return fmt.Sprintf("%s - - - %s - -\n", word(in.Identity), in.State())
	}
	rss, age := "-", "-"
	if in.RSS > 0 {
		rss = strconv.FormatInt(in.RSS, 10)
	}
	if !in.Started.IsZero() {
		age = fmt.Sprintf("%.0f", in.Age.Seconds())
	}
	return fmt.Sprintf("%s %d %d %s %s %s %s\n", word(in.Identity), in.Busy, in.Concurrency, rss, in.State(), age,
		word(strings.Join(in.Queues, ",")))
}

// seconds is d to the millisecond.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
