package harness

import (
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

// capture NAME FILE sets a variable to what a file (or stdout) has in it.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "capture NAME FILE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
