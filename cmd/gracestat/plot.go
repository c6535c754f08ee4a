package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"

	"gracekit/lib/cli"
	"gracekit/lib/watch"
)

// bucket is what one column of a drawing shows: the largest size in its time,
// and the restart in it, if there was one.
type bucket struct {
	kb, soft, hard float64 // NaN: no sample
	mark           string
}

// buckets spread the samples over columns of equal time.
func buckets(samples []watch.HistorySample, columns int) []bucket {
	first, last := samples[0].At, samples[len(samples)-1].At
	span := max(last.Sub(first), time.Minute)
	all := make([]bucket, columns)
	for i := range all {
		all[i] = bucket{math.NaN(), math.NaN(), math.NaN(), ""}
	}
	column := func(at time.Time) int {
		return min(int(float64(columns)*float64(at.Sub(first))/float64(span)), columns-1)
	}
	for _, s := range samples {
		at := column(s.At)
		for i := at; i <= max(at, column(s.At.Add(time.Minute))-1); i++ { // a minute may be several columns
			b := &all[i]
			b.kb = larger(b.kb, s.KB)
			b.soft, b.hard = larger(b.soft, s.SoftKB), larger(b.hard, s.HardKB)
		}
		if s.Mark != "" {
			all[at].mark = string(s.Mark)
		}
	}
	return all
}

// larger is the larger of the two; 0 is no value.
func larger(a float64, kb int64) float64 {
	if kb == 0 || a >= float64(kb) {
		return a
	}
	return float64(kb)
}

// drawText draws the history for a terminal: size, both limits as lines, and
// below it a mark for each restart, by the first letter of its reason.
func drawText(name string, samples []watch.HistorySample, width, height int, colour bool) string {
	const axis = 9 // what asciigraph puts before the drawing
	columns := max(width-axis, 20)
	drawn := buckets(samples, columns)
	kb, soft, hard := make([]float64, columns), make([]float64, columns), make([]float64, columns)
	marks := []byte(strings.Repeat(" ", columns))
	most := 0.0
	for i, b := range drawn {
		const mb = 1024
		kb[i], soft[i], hard[i] = b.kb/mb, b.soft/mb, b.hard/mb
		for _, value := range []float64{kb[i], soft[i], hard[i]} {
			if !math.IsNaN(value) {
				most = max(most, value)
			}
		}
		if b.mark != "" {
			marks[i] = b.mark[0]
		}
	}
	var series [][]float64
	var names []string
	var lines []asciigraph.AnsiColor
	for _, l := range []struct { // the last is drawn over the others
		name   string
		values []float64
		colour asciigraph.AnsiColor
	}{{"hard limit", hard, asciigraph.Red}, {"soft limit", soft, asciigraph.Yellow}, {"size", kb, asciigraph.Green}} {
		if slices.ContainsFunc(l.values, func(v float64) bool { return !math.IsNaN(v) }) {
			series, names, lines = append(series, l.values), append(names, l.name), append(lines, l.colour)
		}
	}
	if !colour {
		lines = nil
	}
	options := []asciigraph.Option{asciigraph.Height(height), asciigraph.LowerBound(0), asciigraph.UpperBound(most),
		asciigraph.Precision(0), asciigraph.Offset(axis - 3), asciigraph.SeriesColors(lines...)}
	graph := asciigraph.PlotMany(series, options...)
	first, last := samples[0].At.Local(), samples[len(samples)-1].At.Local()
	var out strings.Builder
	fmt.Fprintf(&out, "%s, MB: %s\n%s\n", cli.Printable(name), strings.Join(names, ", "), graph)
	if text := strings.TrimRight(string(marks), " "); text != "" {
		fmt.Fprintf(&out, "%*s%s\n", axis, "", text)
	}
	const layout = "Jan 2 15:04"
	from, to := first.Format(layout), last.Format(layout)
	fmt.Fprintf(&out, "%*s%s%*s\n", axis, "", from, max(columns-len(from), len(to)+1), to)
	if counted := countMarks(samples); counted != "" {
		fmt.Fprintf(&out, "restarts: %s\n", counted)
	}
	return out.String()
}

// countMarks is how many restarts there were of each reason: 3 soft (s), 1 hard (h).
func countMarks(samples []watch.HistorySample) string {
	var order []string
	count := map[string]int{}
	for _, s := range samples {
		if s.Mark == "" {
			continue
		}
		if count[string(s.Mark)] == 0 {
			order = append(order, string(s.Mark))
		}
		count[string(s.Mark)]++
	}
	var words []string
	for _, reason := range order {
		words = append(words, fmt.Sprintf("%d %s (%s)", count[reason], reason, reason[:1]))
	}
	return strings.Join(words, ", ")
}
