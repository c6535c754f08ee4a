package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/grace"
	"gracekit/lib/service"
)

// metric is one family in the text format of Prometheus.
type metric struct {
	name, kind, help string
	samples          []string
}

func (m *metric) add(value float64, labels ...string) {
	var pairs []string
	for i := 0; i < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+labelValue(labels[i+1])+`"`)
	}
	m.samples = append(m.samples, fmt.Sprintf("%s{%s} %s", m.name, strings.Join(pairs, ","), strconv.FormatFloat(value, 'g', -1, 64)))
}

// labelValue escapes a label's value as the format wants it.
func labelValue(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(cli.Printable(text))
}

// metrics is all of it, families in a fixed order.
func metrics(services []Service) string {
	rss := metric{name: "gracekit_rss_bytes", kind: "gauge", help: "Size of the worker, in the measure of its watcher."}
	soft := metric{name: "gracekit_soft_limit_bytes", kind: "gauge", help: "Soft limit of the worker; no sample if there is none."}
	hard := metric{name: "gracekit_hard_limit_bytes", kind: "gauge", help: "Hard limit of the worker; no sample if there is none."}
	over := metric{name: "gracekit_over_soft_seconds", kind: "gauge", help: "How long the worker has been over its soft limit."}
	state := metric{name: "gracekit_state", kind: "gauge", help: "1 for the state the worker is in."}
	restarts := metric{name: "gracekit_restarts_total", kind: "counter", help: "Restarts that were done, by reason."}
	postponed := metric{name: "gracekit_restarts_postponed_total", kind: "counter", help: "Restarts that were postponed."}
	failed := metric{name: "gracekit_restarts_failed_total", kind: "counter", help: "Restarts that failed."}
	took := metric{name: "gracekit_last_restart_duration_seconds", kind: "gauge", help: "How long the last restart took."}
	jobs := metric{name: "gracekit_jobs_running", kind: "gauge", help: "Jobs that the Sidekiq was running at its last heartbeat."}
	growth := metric{name: "gracekit_growth_bytes_per_second", kind: "gauge", help: "Growth over the last hour, by the history of the watcher."}
	watcher := metric{name: "gracekit_watcher_up", kind: "gauge", help: "1 if a gracewatch watches the service."}
	for i := range services {
		s := &services[i]
		if s.Err != nil {
			continue // nothing is better than what is not known
		}
		up := 0.0
		if s.Watcher.PID > 0 {
			up = 1
		}
		for _, w := range s.Workers {
			at := []string{"service", s.Name, "instance", strconv.Itoa(w.ID.PID)}
			rss.add(float64(w.KB)*1024, at...)
			if w.SoftKB > 0 {
				soft.add(float64(w.SoftKB)*1024, at...)
			}
			if w.HardKB > 0 {
				hard.add(float64(w.HardKB)*1024, at...)
			}
			over.add(w.Over.Seconds(), at...)
			if w.HasJobs {
				jobs.add(float64(w.Busy), at...)
			}
			state.addStates(w.State, at)
		}
		if len(s.Workers) == 0 {
			state.addStates(s.State, []string{"service", s.Name, "instance", ""})
		}
		of := []string{"service", s.Name, "instance", ""} // of the service as a whole
		watcher.add(up, of...)
		if s.Snapshot == nil || s.Snapshot.Version == 0 { // no state can be read
			continue
		}
		for _, reason := range []grace.Reason{grace.Soft, grace.Hard, grace.Legacy, grace.Age, grace.Control} {
			restarts.add(float64(s.Snapshot.Counts.Done[reason]), append(of, "reason", string(reason))...)
		}
		postponed.add(float64(s.Snapshot.Counts.Postponed), of...)
		failed.add(float64(s.Snapshot.Counts.Failed), of...)
		if r := s.lastRestart(); r != nil {
			took.add(r.Took.Seconds(), of...)
		}
		if samples, err := s.readHistory(time.Now().Add(-time.Hour)); err == nil {
			if kb, ok := slope(samples); ok {
				growth.add(kb*1024, of...)
			}
		}
	}
	var out strings.Builder
	for _, m := range []metric{rss, soft, hard, over, state, restarts, postponed, failed, took, jobs, growth, watcher} {
		if len(m.samples) == 0 {
			continue
		}
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n%s\n", m.name, m.help, m.name, m.kind, strings.Join(m.samples, "\n"))
	}
	return out.String()
}

// addStates has a sample for each state, 1 for the one that is.
func (m *metric) addStates(is State, labels []string) {
	for _, state := range severity {
		value := 0.0
		if state == is {
			value = 1
		}
		m.add(value, append(labels[:len(labels):len(labels)], "state", string(state))...)
	}
}

// exportMetrics prints the metrics, or replaces a file with them, once or over and
// over. What cannot be read or written (a full disk, for example) is logged once as
// long as it lasts.
func exportMetrics(cmd *cli.Command, o options, c *collector) error {
	stop := make(chan os.Signal, 1)
	if o.every > 0 {
		signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	}
	before := map[string]bool{}
	for {
		services := c.collect()
		errs := []error{writeOutput(cmd, o.output, metrics(services))}
		if len(services) == 0 {
			errs = append(errs, errNoService()) // it may come
		}
		for _, s := range services {
			errs = append(errs, s.Err)
		}
		now := map[string]bool{}
		for _, err := range errs {
			if err == nil {
				continue
			}
			now[err.Error()] = true
			if !before[err.Error()] {
				cmd.Error("%v", err)
			}
		}
		switch {
		case o.every == 0 && len(now) > 0:
			return cli.Exit(cli.Refused)
		case o.every == 0:
			return nil
		}
		before = now
		select {
		case <-stop:
			return nil
		case <-time.After(o.every.Std()):
		}
	}
}

// writeOutput prints a text, or replaces a file as a whole: the textfile collector
// of node_exporter must not read half of it.
func writeOutput(cmd *cli.Command, file, text string) error {
	if file == "" {
		return cmd.Write(text)
	}
	dir, name, err := service.OpenParent(file)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.WriteFile(name, []byte(text), 0o644)
}
