package main

import (
	"path"
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
// --timeout 60, --timeout=60, and --timeout shortened. The last one counts.
func timeoutOption(words []string) (value string) {
	for i, word := range words {
		switch {
		case word == "--", word == ";", word == "&&", word == "||", word == "|", word == "&":
			return value
		case strings.HasPrefix(word, "--t"):
			name, text, given := strings.Cut(word, "=")
			if !strings.HasPrefix("--timeout", name) {
				continue
			}
			if given {
				value = text
			} else if i+1 < len(words) {
				value = words[i+1]
			}
		case strings.HasPrefix(word, "-t"):
			value = strings.TrimPrefix(word, "-t")
			if value == "" && i+1 < len(words) {
				value = words[i+1]
			}
		}
	}
	return strings.TrimRight(value, `;'"`)
}
