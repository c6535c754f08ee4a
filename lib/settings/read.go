package settings

import (
	"errors"
	"fmt"
	"strings"
)

// Read reads the environment. lookup is os.LookupEnv, or stands for it. An error
// names the variable, what is wrong with its value, and what would be right. A
// variable that is empty counts as not set, but for QUIET_SIGNAL.
func Read(lookup func(name string) (text string, set bool)) (*Values, error) {
	v := &Values{sources: map[string]Source{}}
	for _, s := range Table {
		source, err := s.find(lookup)
		if err != nil {
			return nil, err
		}
		v.sources[s.Name] = source
		name := source.Variable
		if name == "" {
			if s.Default == "" {
				continue
			}
			name = s.Name
		}
		if err := s.set(v, source.Text); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if v.Match != "" && v.sources["MEMORY_KILLER_SCOPE"].Variable != "" {
		return nil, errors.New("MEMORY_KILLER_MATCH and MEMORY_KILLER_SCOPE cannot be combined (want one of them)")
	}
	return v, nil
}

// Parse reads the value of one setting, by any of its names.
func Parse(name, text string) (*Values, error) {
	for _, s := range Table {
		for _, n := range s.names() {
			if n == name {
				v := &Values{}
				if err := s.set(v, text); err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
				return v, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: no such setting", name)
}

// Find is the variable that counts for a setting, by its first name, where
// lookup reads one place that settings come from.
func Find(name string, lookup func(name string) (text string, set bool)) (Source, error) {
	for _, s := range Table {
		if s.Name == name {
			return s.find(lookup)
		}
	}
	return Source{}, fmt.Errorf("%s: no such setting", name)
}

// Source is where the value of a setting came from, by its first name.
func (v *Values) Source(name string) Source { return v.sources[name] }

// names are all variables of a setting, in the order in which they count.
func (s *Setting) names() []string {
	names := append([]string{s.Name}, s.Others...)
	if s.Before != "" {
		names = append([]string{s.Before}, names...)
	}
	return names
}

// find is what counts for a setting.
func (s *Setting) find(lookup func(string) (string, bool)) (Source, error) {
	if s.Name == "REDIS_URL" {
		return findRedis(lookup)
	}
	found := Source{Text: s.Default}
	for _, name := range s.names() {
		text, set := lookup(name)
		if !set || text == "" && name != "QUIET_SIGNAL" {
			continue
		}
		switch {
		case found.Variable == "":
			found = Source{name, text}
		case found.Text != text && found.Variable != s.Before:
			return found, fmt.Errorf("%s: %q contradicts %s, which is %q (want one of them)", name, text, found.Variable, found.Text)
		}
	}
	return found, nil
}

// findRedis is the URL as Sidekiq finds it (sidekiq/redis_connection.rb).
func findRedis(lookup func(string) (string, bool)) (Source, error) {
	direct, _ := lookup("REDIS_URL")
	provider, _ := lookup("REDIS_PROVIDER")
	switch {
	case strings.Contains(provider, ":"):
		return Source{}, errors.New("REDIS_PROVIDER: invalid value (want the name of the variable that has the URL, not a URL)")
	case provider != "":
		if text, _ := lookup(provider); text != "" {
			return Source{provider, text}, nil
		}
		if direct == "" {
			return Source{}, fmt.Errorf("REDIS_PROVIDER: %s, which it names, is not set", provider)
		}
	}
	if direct == "" {
		return Source{}, nil
	}
	return Source{"REDIS_URL", direct}, nil
}
