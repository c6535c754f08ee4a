// Package sidekiq knows what a Sidekiq process tells of itself without being
// asked: its title and the names of its threads. It asks no Redis and sends no
// signal.
package sidekiq

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// Title is the process title, /proc/PID/cmdline: "sidekiq 6.4.1 app [3 of 10 busy] stopping".
// It is as old as the last heartbeat: 5 s in Sidekiq 6, 10 s from 7 on.
type Title struct {
	Version, Tag string
	Busy         int  // jobs that were running
	Concurrency  int  // jobs that can run at once
	Stopping     bool // quiet or ending: it takes no more jobs
}

// ErrNoTitle is the error of a process whose title is not Sidekiq's.
var ErrNoTitle = errors.New("no title of Sidekiq")

// ErrCut is the error of a title without its end: the room for it is that of
// the arguments and the environment at the start.
var ErrCut = errors.New("the title of Sidekiq is cut off (its arguments and environment were short): it doesn't tell")

// ParseTitle reads the text of /proc/PID/cmdline.
func ParseTitle(cmdline []byte) (t Title, err error) {
	text, ok := strings.CutPrefix(string(bytes.TrimRight(cmdline, "\x00")), "sidekiq ")
	if !ok || strings.Contains(text, "\x00") { // between arguments: it has no title yet
		return Title{}, ErrNoTitle
	}
	text, t.Stopping = strings.CutSuffix(text, " stopping")
	text, ok = strings.CutSuffix(text, " busy]")
	open := strings.LastIndexByte(text, '[') // a tag may have one too
	if !ok || open < 0 {
		return Title{}, ErrCut
	}
	busy, concurrency, _ := strings.Cut(text[open+1:], " of ")
	var errBusy, errConcurrency error
	t.Busy, errBusy = number(busy)
	t.Concurrency, errConcurrency = number(concurrency)
	t.Version, t.Tag, ok = strings.Cut(text[:open], " ")
	if errBusy != nil || errConcurrency != nil || !ok || t.Version == "" {
		return Title{}, ErrCut
	}
	t.Tag = strings.TrimSuffix(t.Tag, " ")
	return t, nil
}

func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}
