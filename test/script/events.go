package script

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// events FILE MSG... waits until a log of slog's text has as many lines, which must be these events in this order.
func events(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "events FILE MSG...")
	var got []string
	until := args[1:]
	waitLines(ts, args[0], len(until), func(text string) {
		got = nil
		for line := range strings.Lines(text) {
			_, msg, _ := strings.Cut(line, " msg=")
			msg, _, _ = strings.Cut(strings.TrimSpace(msg), " ")
			got = append(got, msg)
		}
	})
	if !slices.Equal(got, until) {
		ts.Fatalf("events:\n got %q\nwant %q", got, until)
	}
}

func waitLines(ts *testscript.TestScript, file string, n int, take func(text string)) {
	until(ts, strconv.Itoa(n)+" lines in "+file, func() bool {
		text, _ := os.ReadFile(ts.MkAbs(file))
		whole := string(text[:strings.LastIndexByte(string(text), '\n')+1])
		if strings.Count(whole, "\n") < n {
			return false
		}
		take(whole)
		return true
	})
}

// attrs FILE MSG KEY=REGEXP...: the first such event has these attributes, all of them and no other.
func attrs(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "attrs FILE MSG KEY=REGEXP...")
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if !strings.Contains(line, " msg="+args[1]+" ") {
			continue
		}
		have := parseText(ts, strings.TrimSpace(line))
		for _, want := range args[2:] {
			key, pattern, _ := strings.Cut(want, "=")
			value, ok := have[key]
			if !ok || !regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) {
				ts.Fatalf("%s is %q, not %q, in %s", key, value, pattern, line)
			}
			delete(have, key)
		}
		delete(have, "level")
		delete(have, "msg")
		if len(have) > 0 {
			ts.Fatalf("more than was expected: %v in %s", have, line)
		}
		return
	}
	ts.Fatalf("no %s in %s", args[1], args[0])
}

// parseText reads KEY=VALUE KEY="VALUE" ...
func parseText(ts *testscript.TestScript, line string) map[string]string {
	have := map[string]string{}
	for line != "" {
		key, rest, _ := strings.Cut(line, "=")
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			have[key], err = strconv.Unquote(quoted)
			ts.Check(err)
			line = strings.TrimPrefix(rest[len(quoted):], " ")
			continue
		}
		have[key], line, _ = strings.Cut(rest, " ")
	}
	return have
}

// json-lines FILE KEY...: each line is a JSON object that has these keys.
func jsonLines(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "json-lines FILE KEY...")
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
		for _, key := range args[1:] {
			if _, ok := object[key]; !ok {
				ts.Fatalf("no %s in %s", key, line)
			}
		}
	}
}
