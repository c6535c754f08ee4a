package grace

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Text is the state as words, for ParseState: over since=12 reason=soft. Times
// are in nanoseconds; what is zero is left out.
func (s State) Text() string {
	var words []string
	for _, f := range s.flags() {
		if *f.is {
			words = append(words, f.name)
		}
	}
	for _, t := range s.times() {
		if *t.at != 0 {
			words = append(words, t.name+"="+strconv.FormatInt(int64(*t.at), 10))
		}
	}
	if s.Reason != "" {
		words = append(words, "reason="+string(s.Reason))
	}
	return strings.Join(words, " ")
}

// ParseState reads what Text wrote.
func ParseState(text string) (s State, err error) {
	for _, word := range strings.Fields(text) {
		if !s.set(word) {
			return State{}, fmt.Errorf("%q is no word of a state", word)
		}
	}
	return s, nil
}

func (s *State) set(word string) bool {
	for _, f := range s.flags() {
		if f.name == word {
			*f.is = true
			return true
		}
	}
	name, value, _ := strings.Cut(word, "=")
	if name == "reason" {
		s.Reason = Reason(value)
		switch s.Reason {
		case Soft, Hard, Legacy, Age, Control:
			return true
		}
		return false
	}
	for _, t := range s.times() {
		if t.name == name {
			n, err := strconv.ParseInt(value, 10, 64)
			*t.at = time.Duration(n)
			return err == nil && n > 0
		}
	}
	return false
}

type flag struct {
	name string
	is   *bool
}

func (s *State) flags() []flag {
	return []flag{{"over", &s.Over}, {"over-hard", &s.OverHard}, {"grace-over", &s.GraceOver},
		{"restarting", &s.Restarting}, {"committed", &s.Committed}}
}

type moment struct {
	name string
	at   *time.Duration
}

func (s *State) times() []moment {
	return []moment{{"since", &s.Since}, {"hard-since", &s.HardSince}, {"not-before", &s.NotBefore}}
}
