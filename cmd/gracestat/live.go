package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/sys/unix"

	"gracekit/lib/cli"
	"gracekit/lib/proc"
	"gracekit/lib/watch"
)

// live is the screen of gracestat --watch.
type live struct {
	screen    tcell.Screen
	collector *collector
	services  []Service
	all       time.Duration // when all of them were read
	trends    map[proc.ID]trend
	selected  int
	top, end  int    // the services that are on the screen: from top to before end
	asking    bool   // whether to restart the selected service now
	message   string // what the last key did
}

// watchLive shows the services until q.
func watchLive(cmd *cli.Command, c *collector) error {
	screen, err := tcell.NewScreen()
	if err == nil {
		err = screen.Init()
	}
	if err != nil {
		return fmt.Errorf("--watch: cannot use the terminal: %w", err)
	}
	defer screen.Fini()
	l := &live{screen: screen, collector: c}
	events := make(chan tcell.Event)
	quit := make(chan struct{})
	defer close(quit)
	go screen.ChannelEvents(events, quit)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGHUP)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	l.refresh()
	for ; ; l.draw() {
		select {
		case <-tick.C:
			l.refresh()
		case <-ended:
			return nil
		case event := <-events:
			switch e := event.(type) {
			case nil:
				return nil // the terminal is closed
			case *tcell.EventResize:
				screen.Sync()
			case *tcell.EventKey:
				if l.key(e) {
					return nil
				}
			}
		}
	}
}

// readAllEvery is how often the services are read that are not on the screen.
const readAllEvery = 30 * time.Second

// refresh reads what is on the screen anew: with a hundred services it would be
// a load to read all of them each second.
func (l *live) refresh() {
	if l.all == 0 || proc.Now()-l.all >= readAllEvery {
		l.readAll()
	} else {
		for i := l.top; i < min(l.end, len(l.services)); i++ {
			if s := &l.services[i]; !s.update() {
				*s, _ = l.collector.service(s.target)
			}
		}
	}
	trends := map[proc.ID]trend{}
	for _, s := range l.services {
		for _, w := range s.Workers {
			trends[w.ID] = l.trends[w.ID].add(s.now, w.KB)
		}
	}
	l.trends = trends
}

// readAll reads all services. The selected one stays that; if there is none of its
// name any more, nothing is asked of another.
func (l *live) readAll() {
	selected := ""
	if len(l.services) > 0 {
		selected = l.services[l.selected].Name
	}
	l.all, l.services = proc.Now(), l.collector.collect()
	i := slices.IndexFunc(l.services, func(s Service) bool { return s.Name == selected })
	l.asking = l.asking && i >= 0
	l.selected = max(0, i)
}

// key acts on a key; true ends the program.
func (l *live) key(e *tcell.EventKey) (quit bool) {
	asked := l.asking
	l.asking, l.message = false, ""
	switch {
	case e.Key() == tcell.KeyCtrlC, e.Rune() == 'q':
		return true
	case asked && e.Rune() == 'y':
		l.command('t', "restarts now")
	case asked:
		l.message = "not restarted"
	case e.Key() == tcell.KeyUp:
		l.selected = max(0, l.selected-1)
	case e.Key() == tcell.KeyDown:
		l.selected = max(0, min(l.selected+1, len(l.services)-1))
	case e.Rune() == 'p':
		l.command('p', "paused, no limit is enforced until u")
	case e.Rune() == 'u':
		l.command('u', "resumed")
	case e.Rune() == 'r' && len(l.services) > 0:
		l.asking = true
	}
	return false
}

// command writes a letter to the watcher of the selected service.
func (l *live) command(letter byte, done string) {
	if len(l.services) == 0 {
		return
	}
	s := &l.services[l.selected]
	s.read = 0 // the watcher writes its state now
	l.message = s.Name + ": " + done
	if err := s.command(letter); err != nil {
		l.message = fmt.Sprintf("cannot reach the watcher of %s: %v", s.Name, err)
	}
}

// command writes a letter to the control FIFO of a watcher (gracewatch(8)). It
// never waits: without a reader that is an error.
func (s *Service) command(letter byte) error {
	if s.Watcher == (proc.ID{}) {
		return errors.New("no gracewatch watches it")
	}
	path := s.Snapshot.Control
	if path == "" {
		return errors.New("it has no control FIFO (start gracewatch with --control)")
	}
	w, uid, err := openWatcher(s.Watcher)
	if err != nil {
		return err
	}
	w.Close()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO || int(st.Uid) != uid {
		return fmt.Errorf("%s is not a FIFO of its user", path)
	}
	_, err = unix.Write(fd, []byte{letter})
	return err
}

var (
	plain = tcell.StyleDefault
	dim   = plain.Dim(true)
	bold  = plain.Bold(true)
)

func coloured(colour int) tcell.Style { return plain.Foreground(tcell.PaletteColor(colour)) }

// draw writes the whole screen, each cell once: tcell sends those that differ, and
// so nothing flickers. (To clear the screen first would have it send all of them.)
func (l *live) draw() {
	_, height := l.screen.Size()
	l.scroll(height - 2)
	l.end = l.top
	row := 1
	for ; l.end < len(l.services) && row < height-1; l.end++ {
		row = l.service(l.end, row, height-1)
	}
	for ; row < height-1; row++ {
		l.line(row, plain, "")
	}
	l.line(0, bold, l.head())
	foot := "q quit  p pause  u resume  r restart now  up/down select"
	switch {
	case l.asking:
		foot = fmt.Sprintf("restart %s now? y restarts it, any other key does not", l.services[l.selected].Name)
	case l.message != "":
		foot = l.message
	}
	l.line(height-1, dim, foot)
	l.screen.Show()
}

// head is the first line: the time, and how many services there are.
func (l *live) head() string {
	text := fmt.Sprintf("gracestat  %s  %d services", time.Now().Format("15:04:05"), len(l.services))
	if len(l.services) == 1 {
		text = strings.TrimSuffix(text, "s")
	}
	attention := 0
	for i := range l.services {
		if l.services[i].attention() {
			attention++
		}
	}
	switch {
	case attention == 1:
		text += ", 1 needs attention"
	case attention > 1:
		text += fmt.Sprintf(", %d need attention", attention)
	}
	if shown := l.end - l.top; shown > 0 && shown < len(l.services) {
		text += fmt.Sprintf("  (%d to %d shown)", l.top+1, l.end)
	}
	return text
}

// scroll moves the selected service into the rows that there are.
func (l *live) scroll(rows int) {
	l.top = min(l.top, l.selected)
	need := 0
	for i := l.selected; i >= l.top && i < len(l.services); i-- {
		if need += 1 + max(1, 2*len(l.services[i].Workers)); need > rows {
			l.top = min(i+1, l.selected)
			return
		}
	}
}

// service draws one service from a row on, and returns the next row.
func (l *live) service(i, row, end int) int {
	s := &l.services[i]
	pointer := "  "
	if i == l.selected {
		pointer = "> "
	}
	head := pointer + s.Name
	if r := s.lastRestart(); r != nil {
		head += fmt.Sprintf("  last restart %s ago (%s)", short(time.Since(r.At)), r.Reason)
	}
	l.line(row, bold, head)
	row++
	if len(s.Workers) == 0 && row < end {
		l.line(row, coloured(colours[s.State]), "    "+s.prose())
		row++
	}
	for _, w := range s.Workers {
		if row < end {
			l.bar(row, w)
			row++
		}
		if row < end {
			l.line(row, dim, l.figures(w))
			row++
		}
	}
	return row
}

// figures are those of a worker that its bar does not show, as many as there is
// room for: what matters most comes first.
func (l *live) figures(w Worker) string {
	words := []string{fmt.Sprintf("pid %d", w.ID.PID), "age " + short(w.Age)}
	if w.HasJobs {
		words = append(words, fmt.Sprintf("jobs %d/%d", w.Busy, w.Slots))
	}
	if text := l.forecast(w); text != "" {
		words = append(words, text)
	}
	if w.SoftKB > 0 {
		words = append(words, "soft "+size(w.SoftKB))
	}
	if w.HardKB > 0 {
		words = append(words, "hard "+size(w.HardKB))
	}
	words = append(words, "peak "+size(w.PeakKB))
	width, _ := l.screen.Size()
	text := "  "
	for _, word := range words {
		if len(text)+2+len(word) <= width {
			text += "  " + word
		}
	}
	return text
}

// bar draws the size of a worker, how full it is, up to the larger limit and a
// tenth more, with a mark at each limit, and its state.
func (l *live) bar(y int, w Worker) {
	screen, _ := l.screen.Size()
	width := max(10, screen-40)
	most := max(w.HardKB, w.SoftKB)
	if most == 0 {
		most = max(w.PeakKB, w.KB, 1)
	}
	most += most / 10
	at := func(kb int64) int { return min(int(kb*int64(width)/most), width-1) }
	full := at(w.KB)
	x := l.put(0, y, plain, fmt.Sprintf("%11s ", size(w.KB)))
	for i := range width {
		char, style := '.', dim
		if i <= full && w.KB > 0 {
			char, style = '#', coloured(colours[w.State])
		}
		switch {
		case w.HardKB > 0 && i == at(w.HardKB):
			char, style = '|', coloured(red)
		case w.SoftKB > 0 && i == at(w.SoftKB):
			char, style = '|', coloured(yellow)
		}
		l.screen.SetContent(x+i, y, char, nil, style)
	}
	x = l.put(x+width, y, plain, "  ")
	l.put(l.put(x, y, coloured(colours[w.State]), w.prose()), y, plain, strings.Repeat(" ", max(0, screen-x)))
}

// line writes all of a line.
func (l *live) line(y int, style tcell.Style, text string) {
	width, _ := l.screen.Size()
	l.put(l.put(0, y, style, text), y, plain, strings.Repeat(" ", width))
}

// put writes a text from a column on, cut at the edge of the screen, and returns
// the column after it.
func (l *live) put(x, y int, style tcell.Style, text string) int {
	width, _ := l.screen.Size()
	for _, r := range cli.Printable(text) {
		if x >= width {
			break
		}
		l.screen.SetContent(x, y, r, nil, style)
		x++
	}
	return x
}

// forecast is when the soft limit will be reached if the growth goes on.
func (l *live) forecast(w Worker) string {
	perSecond, ok := slope(l.trends[w.ID])
	if !ok || perSecond <= 0 || w.KB >= w.SoftKB {
		return ""
	}
	seconds := float64(w.SoftKB-w.KB) / perSecond
	if seconds > 7*24*3600 {
		return ""
	}
	left := time.Duration(seconds) * time.Second
	if left > time.Minute {
		left = left.Truncate(time.Minute)
	}
	return "soft limit in about " + short(left)
}

// trend is a worker's size, the last 300 times that it was read.
type trend []watch.HistorySample

func (t trend) add(at time.Duration, kb int64) trend {
	sample := watch.HistorySample{At: time.Unix(0, int64(at)), KB: kb}
	if n := len(t); n > 0 && t[n-1].At.Equal(sample.At) {
		return t // it was not read anew
	}
	t = append(t, sample)
	return t[max(0, len(t)-300):]
}
