package main

import (
	"path"
	"slices"
	"strings"
)

// timeoutOf is the value of -t, or --timeout, of the sidekiq in a command line;
// "" if there is none. Options before the word sidekiq are of a program in
// front, such as timeout, flock or sudo; a shell has the command line of sidekiq
// in one argument.
func timeoutOf(argv []string) string {
	var words []string
	for _, arg := range argv {
		words = append(words, strings.Fields(arg)...)
	}
	for i, word := range words {
		if strings.HasPrefix(path.Base(strings.Trim(word, `'"`)), "sidekiq") {
			if text := timeoutOption(words[i+1:]); text != "" {
				return text
			}
		}
	}
	return ""
}

// timeoutOption reads the option as Ruby's OptionParser does: -t 60, -t60,
// --timeout 60, --timeout=60, and --timeout shortened; the last one counts. In
// the text of a shell a command ends where another begins.
func timeoutOption(words []string) (value string) {
	for i, word := range words {
		text, given := "", false
		switch name, attached, equals := strings.Cut(word, "="); {
		case strings.HasPrefix(word, "--t") && strings.HasPrefix("--timeout", name):
			text, given = attached, true
			if !equals && i+1 < len(words) {
				text = words[i+1]
			}
		case strings.HasPrefix(word, "-t"):
			text, given = word[len("-t"):], true
			if text == "" && i+1 < len(words) {
				text = words[i+1]
			}
		}
		if given {
			value = strings.Trim(text, `;'"`)
		}
		if strings.HasSuffix(word, ";") || strings.HasSuffix(text, ";") || slices.Contains(shellOperators, word) {
			break
		}
	}
	return value
}

var shellOperators = []string{"--", "&&", "||", "|", "&"}
