// Package sidekiq knows what a Sidekiq process shows of itself in /proc: its
// title and the names of its threads. It asks no Redis and sends no signal.
package sidekiq

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Title is the process title, /proc/PID/cmdline: "sidekiq 6.4.1 app [3 of 10 busy] stopping".
// It is as old as the last heartbeat: at most 5 s in Sidekiq 6, 10 s from 7 on.
type Title struct {
	Version, Tag string
	Busy         int  // jobs that were running
	Concurrency  int  // jobs that can run at once
	Stopping     bool // quiet or exiting: it starts no more jobs
}

// ErrNoTitle is the error of a process that has no title of Sidekiq: it boots, or
// is embedded in another program, or is not a Sidekiq.
var ErrNoTitle = errors.New("no Sidekiq title, and no threads that show that it is idle")

// ErrCut is the error of a title without its end: there is only as much room for
// it as arguments and environment took at the start.
var ErrCut = errors.New("the title is cut off before the number of jobs (arguments and environment are too short for it)")

// ParseTitle reads the text of /proc/PID/cmdline. Programs can add words to their
// title (Sidekiq::Launcher::PROCTITLES), in front of "sidekiq" and behind the
// bracket, where Sidekiq Enterprise has "leader".
func ParseTitle(cmdline []byte) (t Title, err error) {
	text := string(bytes.TrimRight(cmdline, "\x00"))
	if strings.Contains(text, "\x00") { // between arguments: there is no title yet
		return Title{}, ErrNoTitle
	}
	text, ok := afterName(text)
	if !ok {
		return Title{}, ErrNoTitle
	}
	end := strings.LastIndex(text+" ", " busy] ") // a tag may have one too
	if end < 0 {
		return Title{}, ErrCut
	}
	words := strings.Fields((text + " ")[end+len(" busy] "):])
	open := strings.LastIndexByte(text[:end], '[')
	if open < 0 {
		return Title{}, ErrCut
	}
	busy, concurrency, _ := strings.Cut(text[open+1:end], " of ")
	var errBusy, errConcurrency error
	t.Busy, errBusy = parseCount(busy)
	t.Concurrency, errConcurrency = parseCount(concurrency)
	t.Version, t.Tag, ok = strings.Cut(text[:open], " ")
	if errBusy != nil || errConcurrency != nil || !ok {
		return Title{}, ErrCut
	}
	t.Tag = strings.TrimSuffix(t.Tag, " ")
	t.Stopping = slices.Contains(words, "stopping")
	return t, nil
}

// afterName is what follows the word "sidekiq" in a title: it begins with the
// version, a digit.
func afterName(title string) (rest string, ok bool) {
	const name = " sidekiq "
	title = " " + title
	for {
		at := strings.Index(title, name)
		if at < 0 {
			return "", false
		}
		title = title[at+len(name)-1:] // the space can begin the next one
		if rest := title[1:]; rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return rest, true
		}
	}
}

func parseCount(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}
