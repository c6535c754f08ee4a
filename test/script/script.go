// Package script is what the test scripts of the programs have beside
// testscript's own commands: processes that they start, wait for and ask about,
// and stand-ins for the processes that the programs are about. It knows none of
// the programs.
package script

import (
	"errors"
	"fmt"
	"gracekit/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// patience is how long an event may take on a busy machine before a test gives up.
const patience = 2 * time.Minute

// Main runs the tests of a program, which is a command of their scripts.
func Main(m *testing.M, name string, program func()) {
	harness.SweepIfTold()
	testscript.Main(m, map[string]func(){
		name:         program,
		"sidekiq":    sidekiq,
		"standing":   standing,
		"joiner":     joiner,
		"end-target": endTarget,
	})
}

// Run runs testdata/*.txtar. Further commands are built from the packages of this module.
func Run(t *testing.T, packages ...string) {
	unix.Umask(0o022) // the scripts' files are pidfiles and service directories: what others may write is refused
	dir, stop, err := harness.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	os.Setenv("GOTMPDIR", dir) // where testscript makes its folders
	bin := ""
	if len(packages) > 0 {
		bin = build(t, packages)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return setup(env, bin) },
		Condition:          condition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":      start,
			"note":       note,
			"tell":       tell,
			"signal":     signal,
			"wait-exit":  waitExit,
			"wait-for":   waitFor,
			"wait-gone":  waitGone,
			"wait-state": waitState,
			"wait-phase": waitPhase,
			"wait-poll":  waitPoll,
			"wait-tick":  waitTick,
			"alive":      alive,
			"exits":      exits,
			"fatal":      fatal,
			"capture":    capture,
			"peak":       peak,
			"number":     number,
			"events":     events,
			"attrs":      attrs,
			"json-lines": jsonLines,
			"redis":      redis,
			"redis-cli":  redisCLI,
			"beat":       beat,
		},
	})
}

func build(t *testing.T, packages []string) (bin string) {
	bin = t.TempDir()
	cmd := exec.Command("go", append([]string{"build", "-o", bin}, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return bin
}

type stageKey struct{}

func setup(env *testscript.Env, bin string) error {
	if bin != "" {
		env.Setenv("PATH", env.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	}
	env.Setenv(harness.RunVariable, os.Getenv(harness.RunVariable))
	if env.Getenv("GORACE") == "" {
		env.Setenv("GORACE", "atexit_sleep_ms=0") // each exit takes a second otherwise
	}
	s := &stage{dir: env.WorkDir, processes: map[string]*process{}}
	env.Values[stageKey{}] = s
	env.Defer(s.clear)
	return nil
}

// condition is what a script asks in brackets.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// arguments ends a script whose command has too few words.
func arguments(ts *testscript.TestScript, args []string, min int, usage string) {
	if len(args) < min {
		ts.Fatalf("usage: %s", usage)
	}
}

// exits CODE PROG [ARG...] runs a program that must exit so.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, "exits CODE PROG [ARG...]")
	if code := run(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exited %d, not %s", code, args[0])
	}
}

// fatal CODE TEXT PROG [ARG...] runs a program that must print nothing but
// PROG: fatal: TEXT, in one line on stderr, and exit so.
func fatal(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 3, "fatal CODE TEXT PROG [ARG...]")
	exits(ts, false, append([]string{args[0]}, args[2:]...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout is not empty: %q", out)
	}
	want := args[2] + ": fatal: " + args[1] + "\n"
	if got := ts.ReadFile("stderr"); got != want {
		ts.Fatalf("stderr:\n got %q\nwant %q", got, want)
	}
}

// run returns the exit code.
func run(ts *testscript.TestScript, argv []string) int {
	err := ts.Exec(argv[0], argv[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
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
