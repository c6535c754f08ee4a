package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// Printable is a text that others chose, on one line and without what a terminal
// acts on.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}

// JSONLine is a value as a line of JSON. A terminal acts on some of the control
// characters that JSON allows (DEL and the C1 controls), so they are escaped too.
func JSONLine(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // no value of ours is a channel, a function or NaN
	}
	var line strings.Builder
	for _, r := range string(text) {
		if r >= 0x7f && r <= 0x9f {
			fmt.Fprintf(&line, "\\u%04x", r)
			continue
		}
		line.WriteRune(r)
	}
	return line.String() + "\n"
}
