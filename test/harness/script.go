package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// ScriptMain runs the tests of a program, which is a command of their scripts, beside stand-ins for the processes that
// the programs are about.
func ScriptMain(m *testing.M, name string, program func()) {
	sweepIfAsked()
	testscript.Main(m, map[string]func(){
		name:         program,
		"sidekiq":    sidekiq,
		"standing":   standing,
		"end-target": endTarget,
	})
}

// Scripts runs testdata/*.txtar. Further commands are built from the packages of this module.
func Scripts(t *testing.T, packages ...string) {
	unix.Umask(0o022) // the scripts' files are pidfiles and service directories: what others may write is refused
	dir, stop, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	os.Setenv("GOTMPDIR", dir) // where testscript makes its folders
	bin := ""
	if len(packages) > 0 {
		bin = t.TempDir()
		if err := build(bin, packages); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return setup(env, bin) },
		Condition:          condition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":      command(2, start),
			"note":       command(2, note),
			"send":       command(2, send),
			"signal":     command(2, signal),
			"wait-exit":  command(2, waitExit),
			"wait-for":   command(2, waitFor),
			"wait-gone":  command(1, waitGone),
			"wait-phase": command(2, waitPhase),
			"wait-poll":  command(1, waitPoll),
			"alive":      alive,
			"exits":      command(2, exits),
			"fatal":      command(3, fatal),
			"capture":    command(2, capture),
			"peak":       command(1, peak),
			"events":     command(2, events),
			"redis":      command(0, redis),
			"redis-cli":  command(0, redisCLI),
			"beat":       command(2, beat),
			"obey":       command(1, obey),
		},
	})
}

func setup(env *testscript.Env, bin string) error {
	if bin != "" {
		env.Setenv("PATH", env.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	}
	env.Setenv(RunVariable, os.Getenv(RunVariable))
	env.Setenv("REPO", Repo())
	if env.Getenv("GORACE") == "" {
		env.Setenv("GORACE", "atexit_sleep_ms=0") // each exit takes a second otherwise
	}
	s := &stage{dir: env.WorkDir, children: map[string]*scriptChild{}}
	env.Values[stageKey{}] = s
	env.Defer(s.clear)
	return nil
}

// command is one that needs so many words.
func command(words int, do func(ts *testscript.TestScript, args []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) < words {
			ts.Fatalf("too few words")
		}
		do(ts, args)
	}
}

// condition is what a script asks in brackets.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// eventually waits until cond is true, and ends the script when that takes longer than Patience.
func eventually(ts *testscript.TestScript, what string, cond func() bool) {
	if !await(cond) {
		ts.Fatalf("after %v still not: %s", Patience, what)
	}
}

// exits CODE PROG [ARG...] runs a program that must exit so.
func exits(ts *testscript.TestScript, args []string) {
	if code := run(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exited %d, not %s", code, args[0])
	}
}

// fatal CODE TEXT PROG [ARG...] runs a program that must print nothing but
// PROG: fatal: TEXT, in one line on stderr, and exit so.
func fatal(ts *testscript.TestScript, args []string) {
	exits(ts, append([]string{args[0]}, args[2:]...))
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

// wait-for FILE REGEXP waits until a file has it.
func waitFor(ts *testscript.TestScript, args []string) {
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
func events(ts *testscript.TestScript, args []string) {
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
func capture(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}
