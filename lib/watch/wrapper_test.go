package watch

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"gracekit/lib/proc"
)

// notes are the messages that are no events.
type notes []string

func (n *notes) Error(format string, args ...any) {
	*n = append(*n, fmt.Sprintf("ERROR "+format, args...))
}
func (n *notes) Warn(format string, args ...any) {
	*n = append(*n, fmt.Sprintf("WARN "+format, args...))
}
func (n *notes) Note(format string, args ...any) { n.Info(format, args...) }
func (n *notes) Info(format string, args ...any) {
	*n = append(*n, fmt.Sprintf("INFO "+format, args...))
}

// That the target is not the worker itself is logged once, and only where something is far larger.
func TestAWrapperIsLoggedOnce(t *testing.T) {
	const isWrapper = "INFO 100:100000 is a wrapper: watching 1 Sidekiqs below it"
	const other = "WARN 100:100000 has 5 KB, but 101:1, below it, has 50 KB and is not a Sidekiq: set --match or --scope " +
		"(MEMORY_KILLER_MATCH, MEMORY_KILLER_SCOPE)"
	for name, c := range map[string]struct {
		largest, later int64         // KB, of what is below the target and no Sidekiq: at first, and after half an hour
		sidekiq        time.Duration // when one is started below it; 0: never
		want           []string
	}{
		"a Sidekiq below it":                 {0, 0, 10 * time.Second, []string{isWrapper}},
		"another worker, ten times as large": {50, 50, 0, []string{other}},
		"another that grows until it is":     {49, 50, 0, []string{other}},
		"nothing that is large":              {49, 49, 0, nil},
	} {
		w := newWorld(t, constant(5))
		w.largest = c.largest
		if c.sidekiq > 0 {
			w.script = append(w.script, fakeEvent{at: start + c.sidekiq, do: func() { w.children = []*fakeProcess{w.start(101, constant(50))} }})
		}
		w.script = append(w.script, fakeEvent{at: start + 30*time.Minute, do: func() { w.largest = c.later }})
		w.ended = w.now + time.Hour
		cfg := config(t, 100, 0)
		cfg.Scope, cfg.Log = proc.ScopeSidekiq, slog.New(slog.DiscardHandler)
		var got notes
		cfg.Messages = &got
		l := newLoop(&cfg, w)
		if err := l.start(); err != nil {
			t.Fatal(err)
		}
		if err := l.run(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
		l.close()
	}
}
