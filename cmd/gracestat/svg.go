package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"time"

	"github.com/wcharczuk/go-chart/v2"

	"gracekit/lib/cli"
	"gracekit/lib/watch"
)

// css gives the picture its colours: readable on a light and on a dark page, and
// with whatever font the reader has.
const css = `
text { font-family: system-ui, sans-serif !important; font-size: 12px !important; stroke: none !important; fill: #333 !important; }
.page { fill: #fff; stroke: none; }
.axis { stroke: #999; stroke-width: 1; fill: none; }
.size { stroke: #1a7f37; stroke-width: 1.5; fill: none; }
.soft { stroke: #b58900; stroke-width: 1.5; stroke-dasharray: 6 4; fill: none; }
.hard { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 6 4; fill: none; }
.mark { stroke: #0969da; stroke-width: 1; stroke-dasharray: 2 3; fill: none; }
@media (prefers-color-scheme: dark) {
text { fill: #ccc !important; }
.page { fill: #0d1117; }
.axis { stroke: #666; }
.size { stroke: #3fb950; }
.soft { stroke: #d29922; }
.hard { stroke: #f85149; }
.mark { stroke: #58a6ff; }
}
`

// drawSVG draws the history: size, both limits, and a line with its reason for
// each restart.
func drawSVG(name string, samples []watch.HistorySample) ([]byte, error) {
	const columns = 900
	var series []chart.Series
	most := 0.0
	first, last := samples[0].At, samples[len(samples)-1].At
	span := max(last.Sub(first), time.Minute)
	all := buckets(samples, columns)
	step := span / columns
	line := func(class string, value func(bucket) float64) {
		var run chart.TimeSeries
		flush := func() { // a gap is no line
			if len(run.XValues) > 1 {
				run.Style = chart.Style{ClassName: class, StrokeWidth: 1}
				series = append(series, run)
			}
			run = chart.TimeSeries{}
		}
		for i, b := range all {
			v := value(b) / 1024
			if math.IsNaN(v) {
				continue
			}
			at := first.Add(time.Duration(i) * step)
			if n := len(run.XValues); n > 0 && at.Sub(run.XValues[n-1]) > max(3*step, 3*time.Minute) {
				flush()
			}
			most = max(most, v)
			run.XValues, run.YValues = append(run.XValues, at), append(run.YValues, v)
		}
		flush()
	}
	line("size", func(b bucket) float64 { return b.kb })
	line("soft", func(b bucket) float64 { return b.soft })
	line("hard", func(b bucket) float64 { return b.hard })
	if len(series) == 0 {
		return nil, fmt.Errorf("cannot draw the history of %s: fewer than two samples (there is one each minute)", name)
	}
	most *= 1.1
	notes := chart.AnnotationSeries{Style: chart.Style{ClassName: "page", FontSize: 9}}
	for _, s := range samples {
		if s.Mark == "" {
			continue
		}
		series = append(series, chart.TimeSeries{Style: chart.Style{ClassName: "mark", StrokeWidth: 1},
			XValues: []time.Time{s.At, s.At.Add(time.Second)}, YValues: []float64{0, most}})
		notes.Annotations = append(notes.Annotations, chart.Value2{XValue: chart.TimeToFloat64(s.At), YValue: most * 0.97, Label: string(s.Mark)})
	}
	if len(notes.Annotations) > 0 {
		series = append(series, notes)
	}
	layout := "15:04"
	if span > 36*time.Hour {
		layout = "Jan 2 15:04"
	}
	text := chart.Style{ClassName: "axis", FontSize: 9}
	none := chart.Style{Hidden: true} // go-chart gives grid lines no class, and so no colour for a dark page
	c := chart.Chart{
		Title: fmt.Sprintf("%s: size in MB (solid), soft and hard limit (dashed), restarts (dotted)", html.EscapeString(cli.Printable(name))), TitleStyle: chart.Style{FontSize: 10},
		Width: 960, Height: 360,
		Background: chart.Style{ClassName: "page", Padding: chart.Box{Top: 40, Left: 10, Right: 20, Bottom: 10}},
		Canvas:     chart.Style{ClassName: "page"},
		XAxis: chart.XAxis{Style: text, ValueFormatter: chart.TimeValueFormatterWithFormat(layout),
			Range: &chart.ContinuousRange{Min: chart.TimeToFloat64(first), Max: chart.TimeToFloat64(first.Add(span))}},
		YAxis: chart.YAxis{Style: text, GridMajorStyle: none, GridMinorStyle: none, Range: &chart.ContinuousRange{Min: 0, Max: most},
			ValueFormatter: func(v any) string { return fmt.Sprintf("%.0f", v) }},
		Series: series,
	}
	var picture bytes.Buffer
	if err := c.Render(chart.SVGWithCSS(css, ""), &picture); err != nil {
		return nil, fmt.Errorf("cannot draw the history of %s: %w", name, err)
	}
	return picture.Bytes(), nil
}
