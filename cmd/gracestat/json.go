package main

import (
	"strings"
	"time"

	"gracekit/lib/cli"
)

// description is the JSON line of a worker; of a service without one, id is null.
type description struct {
	Service     string       `json:"service"`
	Target      string       `json:"target"`
	ID          *string      `json:"id"` // PID:START
	AgeSeconds  float64      `json:"age_s"`
	RSSKB       int64        `json:"rss_kb"` // in the measure of the watcher, rss if there is none
	PeakKB      int64        `json:"peak_kb"`
	SoftKB      int64        `json:"soft_kb"` // 0: none
	HardKB      int64        `json:"hard_kb"`
	State       State        `json:"state"`
	Detail      string       `json:"detail"`
	OverSeconds float64      `json:"over_s"`
	Busy        *int         `json:"jobs"` // null if it is not a Sidekiq, or its title has no count
	Concurrency *int         `json:"concurrency"`
	LastRestart *lastRestart `json:"last_restart"`
	Watcher     *string      `json:"watcher"` // PID:START
	Attention   bool         `json:"attention"`
}

type lastRestart struct {
	At          time.Time `json:"at"`
	Reason      string    `json:"reason"`
	RSSKB       int64     `json:"rss_kb"`
	TookSeconds float64   `json:"took_s"`
}

// jsonLines has a line for each worker, and one for each service without any.
func jsonLines(services []Service) string {
	var out strings.Builder
	for i := range services {
		for _, d := range services[i].descriptions() {
			out.WriteString(cli.JSONLine(d))
		}
	}
	return out.String()
}

func (s *Service) descriptions() (all []description) {
	base := description{Service: s.Name, Target: s.Path, State: s.State, Attention: s.attention()}
	if s.Watcher.PID > 0 {
		id := s.Watcher.String()
		base.Watcher = &id
	}
	if r := s.lastRestart(); r != nil {
		base.LastRestart = &lastRestart{r.At, string(r.Reason), r.KB, r.Took.Seconds()}
	}
	switch {
	case s.Err != nil:
		base.Detail = s.Err.Error()
	case s.Missing != "":
		base.Detail = s.Missing
	}
	for _, w := range s.Workers {
		d := base
		id := w.ID.String()
		d.ID, d.AgeSeconds, d.RSSKB, d.PeakKB = &id, w.Age.Seconds(), w.KB, w.PeakKB
		d.SoftKB, d.HardKB, d.State, d.Detail, d.OverSeconds = w.SoftKB, w.HardKB, w.State, w.Detail, w.Over.Seconds()
		if w.HasJobs {
			d.Busy, d.Concurrency = &w.Busy, &w.Slots
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		all = append(all, base)
	}
	return all
}
