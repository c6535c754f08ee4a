package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gracekit/lib/grace"
)

// The state file is lines of a word and its values, for people to read too. The
// last line shows that it is whole.
//
//	boot 5f0c6c52-6a2c-4d52-9f3f-0d1d0a5c8a43
//	target "/etc/service/sidekiq"
//	limits 2000000 0
//	paused false
//	streak 2 123000000000 60000000000 121000000000
//	process 1234:5678901 2100000 - false over since=123456789000
//	end

// text is the file of a record.
func (r record) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "boot %s\ntarget %q\nlimits %s %s\npaused %t\nstreak %d %d %d %d\n",
		r.boot, r.target, r.soft, r.hard, r.paused, r.streak.Early, r.streak.Last, r.streak.Gap, r.streak.Over)
	for _, p := range r.wards {
		fmt.Fprintf(&b, "process %s %d %s %t %s\n", p.id, p.kb, p.prog, p.tooLow, p.state.Text())
	}
	return b.String() + "end\n"
}

var errDamaged = errors.New("it is damaged")

// parseRecord reads what text made.
func parseRecord(text string) (r record, err error) {
	body, whole := strings.CutSuffix(text, "\nend\n")
	if !whole {
		return r, errDamaged
	}
	for line := range strings.SplitSeq(body, "\n") {
		key, rest, _ := strings.Cut(line, " ")
		if err := r.set(key, rest); err != nil {
			return record{}, fmt.Errorf("%w: %q", errDamaged, line)
		}
	}
	if r.boot == "" || r.target == "" {
		return record{}, errDamaged
	}
	return r, nil
}

func (r *record) set(key, rest string) (err error) {
	words := strings.Fields(rest)
	word := func(i int) string {
		if i >= len(words) {
			err = errDamaged
			return ""
		}
		return words[i]
	}
	number := func(i int) int64 {
		n, errNumber := strconv.ParseInt(word(i), 10, 64)
		if errNumber != nil || n < 0 {
			err = errDamaged
		}
		return n
	}
	truth := func(i int) bool {
		is, errTruth := strconv.ParseBool(word(i))
		err = errors.Join(err, errTruth)
		return is
	}
	switch key {
	case "boot":
		r.boot = word(0)
	case "target":
		r.target, err = strconv.Unquote(rest)
	case "limits":
		r.soft, r.hard = word(0), word(1)
	case "paused":
		r.paused = truth(0)
	case "streak":
		r.streak = grace.Backoff{Early: int(number(0)), Last: time.Duration(number(1)), Gap: time.Duration(number(2)), Over: time.Duration(number(3))}
	case "process":
		p := wardRecord{id: word(0), kb: number(1), prog: word(2), tooLow: truth(3)}
		if err == nil {
			p.state, err = grace.ParseState(strings.Join(words[4:], " "))
		}
		r.wards = append(r.wards, p)
	default:
		err = errDamaged
	}
	return err
}
