package main

import (
	"fmt"
	"gracekit/lib/cli"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A column of the table. Where a terminal is too narrow, those with the highest
// drop go first: the order is what an operator misses least.
type column struct {
	title string
	drop  int // 0: never left out
	right bool
}

var columns = []column{
	{"NAME", 0, false}, {"PID", 4, true}, {"AGE", 3, true}, {"RSS", 0, true}, {"PEAK", 6, true}, {"SOFT", 1, true},
	{"HARD", 2, true}, {"STATE", 0, false}, {"JOBS", 5, true}, {"LAST-RESTART", 7, false}, {"WATCHER", 8, true},
}

const stateColumn = 7

// stateWidth is how much of a long state is worth more than another column.
const stateWidth = 30

// line is a line of the table and the colour of its state.
type line struct {
	cells []string
	state State
}

// table is what gracestat prints: at most width columns wide if that is not 0.
func table(services []Service, width int, colour bool) string {
	var lines []line
	for i := range services {
		lines = append(lines, services[i].lines()...)
	}
	shown := fitting(lines, width)
	widths := make([]int, len(columns))
	for _, c := range shown {
		widths[c] = widthOf(columns[c].title, lines, c)
	}
	if over := total(shown, widths) - width; width > 0 && over > 0 { // the longest state is cut
		widths[stateColumn] = max(len("STATE"), widths[stateColumn]-over)
	}
	var out strings.Builder
	header := line{cells: make([]string, len(columns))}
	for i, c := range columns {
		header.cells[i] = c.title
	}
	header.write(&out, shown, widths, false)
	for _, l := range lines {
		l.write(&out, shown, widths, colour)
	}
	return out.String()
}

// fitting is which columns there is room for.
func fitting(lines []line, width int) (shown []int) {
	for drop := 9; ; drop-- {
		shown = shown[:0]
		widths := make([]int, len(columns))
		for i, c := range columns {
			if c.drop < drop {
				shown = append(shown, i)
				widths[i] = widthOf(c.title, lines, i)
			}
		}
		widths[stateColumn] = min(widths[stateColumn], stateWidth)
		if width == 0 || drop == 1 || total(shown, widths) <= width {
			return shown
		}
	}
}

func widthOf(title string, lines []line, at int) int {
	width := len(title)
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l.cells[at]))
	}
	return width
}

func total(shown []int, widths []int) int {
	sum := len(shown) - 1
	for _, c := range shown {
		sum += widths[c]
	}
	return sum
}

func (l line) write(out *strings.Builder, shown []int, widths []int, colour bool) {
	var text strings.Builder
	for i, c := range shown {
		if i > 0 {
			text.WriteByte(' ')
		}
		cell := cut(l.cells[c], widths[c])
		pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
		if colour && c == stateColumn && l.state != "" {
			cell = fmt.Sprintf("\x1b[3%dm%s\x1b[0m", colours[l.state], cell)
		}
		if columns[c].right {
			cell, pad = pad, cell
		}
		text.WriteString(cell + pad)
	}
	out.WriteString(strings.TrimRight(text.String(), " ") + "\n")
}

// The colours of a terminal that are used, as ECMA-48 numbers them.
const red, green, yellow, cyan = 1, 2, 3, 6

var colours = map[State]int{
	OK: green, Over: yellow, Quiet: cyan, Restarting: cyan, Postponed: yellow, Paused: yellow, TooLow: red, Down: red, Unwatched: red,
}

// cut shortens a text to a width.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(width-1, 0)]) + "~"
}

// lines are those of one service: one if it has one worker, else one for itself
// and one, indented, for each worker.
func (s *Service) lines() []line {
	watcher := "-"
	if s.Watcher.PID > 0 {
		watcher = strconv.Itoa(s.Watcher.PID)
	}
	last := "-"
	if r := s.lastRestart(); r != nil {
		last = short(time.Since(r.At)) + " ago " + cli.Printable(string(r.Reason))
	}
	if len(s.Workers) == 1 {
		l := s.Workers[0].line(cli.Printable(s.Name))
		l.cells[9], l.cells[10] = last, watcher
		return []line{l}
	}
	all := line{cells: []string{cli.Printable(s.Name), "-", "-", "-", "-", "-", "-", s.prose(), "-", last, watcher}, state: s.State}
	var kb int64
	for _, w := range s.Workers {
		kb += w.KB
	}
	if len(s.Workers) > 0 {
		all.cells[3] = size(kb)
	}
	lines := []line{all}
	for _, w := range s.Workers {
		lines = append(lines, w.line("  "+strconv.Itoa(w.ID.PID)))
	}
	return lines
}

// prose is the state of a service that has no worker, or several.
func (s *Service) prose() string {
	switch {
	case s.Err != nil:
		return "cannot be read"
	case s.State == Unwatched:
		return "NOT WATCHED"
	case s.State == TooLow:
		return "limit too low"
	}
	return string(s.State)
}

// prose is the state of a worker.
func (w *Worker) prose() string {
	if w.Detail != "" {
		return cli.Printable(w.Detail)
	}
	return string(w.State)
}

func (w *Worker) line(name string) line {
	jobs := "-"
	if w.HasJobs {
		jobs = fmt.Sprintf("%d/%d", w.Busy, w.Slots)
	}
	return line{state: w.State, cells: []string{name, strconv.Itoa(w.ID.PID), short(w.Age), size(w.KB), size(w.PeakKB),
		size(w.SoftKB), size(w.HardKB), w.prose(), jobs, "-", "-"}}
}

// size is a size for people: 812M, 1.9G, or - for none.
func size(kb int64) string {
	switch {
	case kb == 0:
		return "-"
	case kb < 1000:
		return fmt.Sprintf("%dK", kb)
	case kb < 1000<<10:
		return fmt.Sprintf("%dM", (kb+512)>>10)
	case kb < 100<<20:
		return fmt.Sprintf("%.1fG", float64(kb)/(1<<20))
	}
	return fmt.Sprintf("%dG", kb>>20)
}

// short is a span of time in two units at most: 45s, 4m12s, 3h, 5d.
func short(d time.Duration) string {
	seconds := int64(d.Round(time.Second) / time.Second)
	switch {
	case seconds < 0:
		return "0s"
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600 && seconds%60 == 0:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 3600:
		return fmt.Sprintf("%dm%ds", seconds/60, seconds%60)
	case seconds < 24*3600:
		return fmt.Sprintf("%dh", seconds/3600)
	}
	return fmt.Sprintf("%dd", seconds/(24*3600))
}

// terminalWidth is that of a terminal, or $COLUMNS; 0: it is none, and has no width.
func terminalWidth(f *os.File) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(ws.Col)
}

// useColour reports whether a terminal reads this, and wants colour (no-color.org).
func useColour(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
