package harness

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// wait-for FILE REGEXP waits until a file has it.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "wait-for FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var text []byte
	found := await(func() bool {
		text, _ = os.ReadFile(ts.MkAbs(args[0]))
		return re.Match(text)
	})
	if !found {
		ts.Fatalf("waited %v for %q in %s:\n%s", Patience, args[1], args[0], text)
	}
}

// events FILE MSG... waits until a log of slog's text has as many lines, which must be these events in this order.
func events(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "events FILE MSG...")
	want := args[1:]
	var got []string
	eventually(ts, strconv.Itoa(len(want))+" lines in "+args[0], func() bool {
		got = nil
		for line := range strings.Lines(wholeLines(ts.MkAbs(args[0]))) {
			got = append(got, ParseEvent(line).Name)
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		ts.Fatalf("events:\n got %q\nwant %q", got, want)
	}
}

// attrs FILE MSG KEY=REGEXP...: the first such event has these attributes, all of them and no other.
func attrs(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "attrs FILE MSG KEY=REGEXP...")
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		e := ParseEvent(line)
		if e.Name != args[1] {
			continue
		}
		for _, want := range args[2:] {
			key, pattern, _ := strings.Cut(want, "=")
			value, ok := e.Fields[key]
			if !ok || !regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) {
				ts.Fatalf("%s is %q, not %q, in %s", key, value, pattern, line)
			}
			delete(e.Fields, key)
		}
		delete(e.Fields, "level")
		delete(e.Fields, "msg")
		if len(e.Fields) > 0 {
			ts.Fatalf("more than was expected: %v in %s", e.Fields, line)
		}
		return
	}
	ts.Fatalf("no %s in %s", args[1], args[0])
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

// capture NAME FILE sets a variable to what a file (or stdout) has in it.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "capture NAME FILE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// number FIELD LOWEST HIGHEST: the word with that number, in each line of stdout, is in that range.
func number(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 3, "number FIELD LOWEST HIGHEST")
	var n [3]int
	for i, arg := range args[:3] {
		var err error
		n[i], err = strconv.Atoi(arg)
		ts.Check(err)
	}
	out := ts.ReadFile("stdout")
	if out == "" {
		ts.Fatalf("stdout is empty")
	}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < n[0] {
			ts.Fatalf("%q has no word %d", line, n[0])
		}
		value, err := strconv.Atoi(words[n[0]-1])
		ts.Check(err)
		if value < n[1] || value > n[2] {
			ts.Fatalf("%q: %d is not between %d and %d", line, value, n[1], n[2])
		}
	}
}
