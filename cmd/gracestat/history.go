package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/service"
	"gracekit/lib/watch"
)

// readHistory reads the history that the service's watcher keeps, oldest first.
func (s *Service) readHistory(since time.Time) (samples []watch.HistorySample, err error) {
	dir, name, err := s.openHistory()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	text, err := dir.ReadFile(name, watch.HistorySize)
	file := filepath.Join(dir.String(), name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.Watcher == proc.ID{}:
		return nil, fmt.Errorf("cannot read the history of %s: no gracewatch has written %s, and none is running", s.Name, file)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot read the history of %s: its watcher %v has not written %s (start gracewatch with --history)", s.Name, s.Watcher, file)
	case err != nil:
		return nil, err
	case len(text) != watch.HistorySize || !strings.HasPrefix(string(text), watch.HistoryMagic):
		return nil, fmt.Errorf("cannot read the history of %s: %s is damaged or of another version", s.Name, file)
	}
	return decodeHistory(text, since, time.Now()), nil
}

func (s *Service) openHistory() (dir *service.Dir, name string, err error) {
	if s.history == "" {
		dir, err = s.target.OpenService("supervise")
		return dir, "gracewatch.history", err
	}
	w, _, err := openWatcher(s.Watcher)
	if err != nil {
		return nil, "", err
	}
	defer w.Close()
	return service.OpenParentOf(w, s.history)
}

// decodeHistory is the samples from since until now, oldest first.
func decodeHistory(text []byte, since, now time.Time) (samples []watch.HistorySample) {
	if oldest := now.Add(-(watch.HistorySlots - 1) * time.Minute); since.Before(oldest) {
		since = oldest
	}
	for at := since.Truncate(time.Minute); !at.After(now); at = at.Add(time.Minute) {
		offset := watch.HistoryOffset(at)
		s, ok := watch.DecodeHistorySample([watch.HistorySlot]byte(text[offset : offset+watch.HistorySlot]))
		if ok && s.At.Equal(at) { // else the slot is of another week, or of a clock that was set
			samples = append(samples, s)
		}
	}
	return samples
}

// slope is that of the line of least squares through the samples since the last
// restart. Not ok with fewer than ten of them.
func slope(samples []watch.HistorySample) (kbPerSecond float64, ok bool) {
	for i := len(samples) - 1; i >= 0; i-- {
		if samples[i].Mark != "" || samples[i].KB == 0 {
			samples = samples[i+1:]
			break
		}
	}
	if len(samples) < 10 {
		return 0, false
	}
	var n, sumX, sumY, sumXX, sumXY float64
	first := samples[0].At
	for _, s := range samples {
		x, y := s.At.Sub(first).Seconds(), float64(s.KB)
		n, sumX, sumY, sumXX, sumXY = n+1, sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	if below := n*sumXX - sumX*sumX; below > 0 {
		return (n*sumXY - sumX*sumY) / below, true
	}
	return 0, false
}

// showHistory draws, or prints, the history of one target.
func showHistory(cmd *cli.Command, o options, c *collector) error {
	t := c.targets[0]
	s, _ := c.service(t)
	samples, err := s.readHistory(time.Now().Add(-o.since.Std()))
	if err != nil {
		return err
	}
	if len(samples) == 0 {
		return fmt.Errorf("cannot show the history of %s: no sample in the last %s (want a longer --since)", t.name, short(o.since.Std()))
	}
	switch {
	case o.csv:
		return cmd.Write(csvLines(samples))
	case o.svg != "":
		picture, err := drawSVG(t.name, samples)
		if err != nil {
			return err
		}
		return writeOutput(cmd, o.svg, string(picture))
	}
	width, height := terminalWidth(os.Stdout), 16
	if width == 0 {
		width = 80
	}
	return cmd.Write(drawText(t.name, samples, width, height, useColour(os.Stdout)))
}

func csvLines(samples []watch.HistorySample) string {
	var out strings.Builder
	out.WriteString("time,kb,soft_kb,hard_kb,restart\n")
	for _, s := range samples {
		fmt.Fprintf(&out, "%s,%d,%d,%d,%s\n", s.At.UTC().Format(time.RFC3339), s.KB, s.SoftKB, s.HardKB, s.Mark)
	}
	return out.String()
}
